"""Putting an adapter into a UNet and taking it out again without a trace.

Order: LoRA or DoRA first (PEFT freezes everything else), then the coefficients, then one explicit
list of what is trained. Nothing is ever found by a substring of its name.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from coeffdream.adapters.layers import (
    AttentionLayer,
    alpha_layers,
    attention_layers,
    check_groups,
    check_served,
    lora_modules,
)
from coeffdream.adapters.other import Other, Part, other_for
from coeffdream.adapters.own_part import OwnPart
from coeffdream.adapters.peft_part import PeftPart, shapes_of
from coeffdream.adapters.peft_types import ADAPTER_NAME
from coeffdream.adapters.processor import CoefficientProcessor, new_processor
from coeffdream.config import Parametrisation, TrainConfig
from coeffdream.diffusion.noise import generator_for
from coeffdream.errors import AdapterError
from coeffdream.methods import OURS

LORA_PARTS = ("lora_A", "lora_B", "lora_magnitude_vector")


@dataclass(frozen=True)
class AdapterSpec:
    """What is installed where. `lora` and `alpha` hold full module paths inside the UNet; `other` is what takes the
    LoRA's place, if anything does."""

    rank: int = 2
    dora: bool = False
    lora: tuple[str, ...] = ()
    alpha: tuple[str, ...] = ()
    dropout: float = 0.0
    parametrisation: Parametrisation = "residual"
    groups: int = 1
    other: Other | None = None

    @property
    def method(self) -> str:
        plain = self.other.name if self.other else ("dora" if self.dora else "lora") if self.lora else ""
        return "-".join(part for part in ("coeff" if self.alpha else "", plain) if part)

    @property
    def modules(self) -> tuple[str, ...]:
        """The projections that are changed, whatever by."""
        return self.other.modules if self.other else self.lora


def spec_for(config: TrainConfig, unet: Any) -> AdapterSpec:
    """The adapter that a training config asks for on this UNet. Raises ConfigError, AttentionError."""
    layers = attention_layers(unet)
    alpha = alpha_layers(layers, config.alpha_on, config.alpha_layers) if config.uses_coefficients else []
    check_groups(alpha, config.alpha_groups, f"--alpha-groups {config.alpha_groups}", "--alpha-layers")
    return AdapterSpec(
        rank=config.rank,
        dora=config.uses_dora,
        lora=tuple(lora_modules(layers, config.lora_targets)) if config.uses_lora else (),
        alpha=tuple(layer.path for layer in alpha),
        dropout=config.coeff_dropout,
        parametrisation=config.parametrisation,
        groups=config.alpha_groups,
        other=other_for(config, layers),
    )


@dataclass
class Adapter:
    """An installed adapter: its parameters by group, its scales, and the way back."""

    unet: Any
    spec: AdapterSpec
    lora: dict[str, nn.Parameter] = field(default_factory=dict)  # "<module>.lora_A.weight" -> parameter
    part: Part | None = None  # what is there in place of a LoRA
    processors: dict[str, CoefficientProcessor] = field(default_factory=dict)  # module path -> processor
    _originals: dict[str, Any] = field(default_factory=dict)
    _required_grad: list[tuple[nn.Parameter, bool]] = field(default_factory=list)
    _magnitudes: dict[str, Tensor] = field(default_factory=dict)  # DoRA's, as trained, once scales are set

    @property
    def alpha(self) -> dict[str, nn.Parameter]:
        return {path: processor.coefficients.alpha for path, processor in self.processors.items()}

    @property
    def weights(self) -> dict[str, nn.Parameter]:
        """What is trained beside alpha, whatever the method."""
        return self.part.parameters if self.part else self.lora

    @property
    def trainable(self) -> dict[str, nn.Parameter]:
        """Every trained parameter, alpha's last, in module order."""
        return {**self.weights, **{f"{path}.alpha": alpha for path, alpha in self.alpha.items()}}

    def seed_method(self, seed: int, step: int) -> None:
        """Let what a method beside LoRA and DoRA draws in this step follow from seed and step."""
        if self.part:
            self.part.draw(seed, step)

    @torch.no_grad()
    def drawn_masks(self, seed: int, step: int) -> Tensor | None:
        """The dropout masks of Eq. 12 for this step, those of all layers in one tensor on the CPU."""
        if self.spec.dropout == 0 or not self.processors:
            return None
        layers = [processor.coefficients for processor in self.processors.values()]
        return torch.cat([each.drawn_mask(seed, step, at).flatten() for at, each in enumerate(layers)])

    @torch.no_grad()
    def set_masks(self, masks: Tensor | None) -> None:
        """Those of `drawn_masks`; they go to a card in one piece."""
        if masks is None:
            return
        keeps = [processor.coefficients.keep for processor in self.processors.values()]
        parts = masks.to(keeps[0].device).split([keep.numel() for keep in keeps])
        torch._foreach_copy_(keeps, [part.view_as(keep) for part, keep in zip(parts, keeps, strict=True)])

    @torch.no_grad()
    def set_scales(self, *, lora: float = 1.0, alpha: float = 1.0) -> None:
        """Weaken (below 1), switch off (0) or exaggerate what was learned. For drawing: 1 before saving.

        DoRA's magnitude fades to the norm of each row of W, where it began; PEFT alone would scale only BA.
        """
        from coeffdream.adapters.dora import row_norms

        for path in self.spec.lora:
            layer = self.unet.get_submodule(path)
            layer.set_scale(ADAPTER_NAME, lora)
            if self.spec.dora:
                magnitude = self.lora[f"{path}.lora_magnitude_vector"]
                trained = self._magnitudes.setdefault(path, magnitude.detach().clone())
                magnitude.copy_(torch.lerp(row_norms(layer.get_base_layer().weight), trained, lora))
        if self.part:
            self.part.set_scale(lora)
        for processor in self.processors.values():
            processor.coefficients.strength = alpha

    def check_installed(self) -> None:
        """Raises AdapterError when something replaced one of our processors (diffusers does so silently)."""
        for path, processor in self.processors.items():
            current = self.unet.get_submodule(path).processor
            if current is not processor:
                raise AdapterError(
                    f"{path} now has a {type(current).__name__} instead of the trained coefficients; "
                    "whatever set it must run before the adapter is installed"
                )

    def uninstall(self) -> None:
        """Restore the UNet bit for bit: modules, processors, and which parameters want gradients."""
        for path, original in self._originals.items():
            self.unet.get_submodule(path).set_processor(original)
        if self.spec.lora:
            _take_out_lora(self.unet, self.spec.lora)
        if self.part:
            self.part.take_out()
        for parameter, required in self._required_grad:
            parameter.requires_grad_(required)


def install(unet: Any, spec: AdapterSpec, *, seed: int = 0) -> Adapter:
    """Install freshly initialised adapters; the UNet then computes what it computed before.

    Adapter parameters are float32 on the UNet's device whatever the UNet's dtype. A_lora is kaiming
    uniform as in LoRA's own code (arXiv 2106.09685), B zero, DoRA's magnitude the norm of each row of W.
    """
    by_path = {layer.path: layer for layer in attention_layers(unet)}
    mixed = any(isinstance(layer.module.processor, CoefficientProcessor) for layer in by_path.values())
    if mixed or ADAPTER_NAME in getattr(unet, "peft_config", {}):
        raise AdapterError("the UNet already carries an adapter; uninstall that one first")
    modules = dict(unet.named_modules())
    absent = [path for path in spec.modules if not isinstance(_base(modules.get(path)), nn.Linear)]
    absent += [path for path in spec.alpha if path not in by_path]
    if absent:
        raise AdapterError(
            f"the UNet has no fitting {absent[0]}, which the adapter wants to change; it belongs to another base"
        )
    check_served([by_path[path] for path in spec.alpha], "--alpha-layers")
    _check_size(unet, spec, modules, by_path)
    adapter = Adapter(unet, spec)
    adapter._required_grad = [(parameter, parameter.requires_grad) for parameter in unet.parameters()]
    unet.requires_grad_(False)
    try:
        if spec.lora:
            _install_lora(adapter, seed)
        if spec.other:
            own = spec.other.name in OURS
            adapter.part = OwnPart(unet, spec.other) if own else PeftPart(unet, spec.other, seed)
    except AdapterError:
        adapter.uninstall()
        raise
    for index, path in enumerate(spec.alpha):
        layer = by_path[path]
        processor = new_processor(
            layer.heads,
            index,
            dropout=spec.dropout,
            parametrisation=spec.parametrisation,
            groups=spec.groups,
            seed=seed,
            device=next(unet.parameters()).device,
        )
        adapter._originals[path] = layer.module.processor
        layer.module.set_processor(processor)
        adapter.processors[path] = processor.train(unet.training)
    return adapter


def _check_size(
    unet: Any, spec: AdapterSpec, modules: dict[str, Any], layers: dict[str, AttentionLayer]
) -> None:
    """An adapter larger than its model is a slip of the keyboard, or a file made to fill the memory."""
    weights = sum(spec.rank * (modules[path].in_features + modules[path].out_features) for path in spec.lora)
    if spec.other and spec.other.config and (shapes := shapes_of(unet, spec.other)):
        weights = sum(math.prod(shape) for shape in shapes["tensors"].values())
    wanted = weights + sum(layers[path].heads ** 2 // spec.groups for path in spec.alpha)
    available = sum(parameter.numel() for parameter in unet.parameters())
    for module in modules.values():  # whose weight is no parameter where it is kept in fewer bits
        if isinstance(module, nn.Linear) and "weight" not in module._parameters:
            available += module.in_features * module.out_features
    if wanted > available:
        raise AdapterError(
            f"{f'an adapter of rank {spec.rank}' if spec.lora else spec.method} would have {wanted:,} parameters, more "
            f"than the {available:,} of the whole UNet; choose a smaller {'rank' if spec.lora else 'one with --method-option'}"
        )


def _install_lora(adapter: Adapter, seed: int) -> None:
    from peft import LoraConfig

    from coeffdream.adapters.dora import hasten

    spec, unet = adapter.spec, adapter.unet
    before = unet.active_adapters() if getattr(unet, "peft_config", None) else []
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Already found a `peft_config`")  # meant: see below
        unet.add_adapter(
            LoraConfig(r=spec.rank, lora_alpha=spec.rank, use_dora=spec.dora, target_modules=list(spec.lora)),
            adapter_name=ADAPTER_NAME,
        )
    if before:  # a LoRA that was there keeps drawing (LCM, Lightning, a style); PEFT has switched it off
        unet.set_adapter([*before, ADAPTER_NAME])
        unet.requires_grad_(False)
    for index, path in enumerate(spec.lora):
        layer = adapter.unet.get_submodule(path)
        for part in LORA_PARTS:
            holder = getattr(layer, part)
            if ADAPTER_NAME in holder:
                parameter = holder[ADAPTER_NAME].weight
                parameter.data = parameter.data.float()
                parameter.requires_grad_(True)
                suffix = "" if part == "lora_magnitude_vector" else ".weight"
                adapter.lora[f"{path}.{part}{suffix}"] = parameter
        _initialise(layer, seed, index)
        if spec.dora:
            hasten(layer, ADAPTER_NAME)


def _take_out_lora(unet: Any, paths: tuple[str, ...]) -> None:
    """Our low-rank part, and nothing of any other adapter."""
    if set(getattr(unet, "peft_config", {})) <= {ADAPTER_NAME}:
        unet.unload_lora()
        return
    unet.delete_adapters(ADAPTER_NAME)
    for path in paths:
        parent, _, name = path.rpartition(".")
        layer = unet.get_submodule(path)
        if hasattr(layer, "base_layer") and not layer.lora_A:  # the wrapper was there for ours alone
            setattr(unet.get_submodule(parent), name, layer.base_layer)


def _base(module: Any) -> Any:
    """The layer itself where PEFT has wrapped it."""
    return getattr(module, "base_layer", module)


@torch.no_grad()
def _initialise(layer: Any, seed: int, index: int) -> None:
    down: Tensor = layer.lora_A[ADAPTER_NAME].weight
    if down.is_meta:
        return
    drawn = torch.empty(down.shape)
    nn.init.kaiming_uniform_(drawn, a=math.sqrt(5), generator=generator_for(seed, "lora-init", index))
    down.copy_(drawn)
    layer.lora_B[ADAPTER_NAME].weight.zero_()
    if ADAPTER_NAME in layer.lora_magnitude_vector:
        from coeffdream.adapters.dora import row_norms

        layer.lora_magnitude_vector[ADAPTER_NAME].weight.copy_(row_norms(layer.get_base_layer().weight))
