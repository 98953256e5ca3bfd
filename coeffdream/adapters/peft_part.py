"""A method of PEFT's in a UNet, by PEFT's own code: its layers, its start, its way of saving and taking out."""

from __future__ import annotations

import copy
import functools
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from coeffdream.adapters.other import Other
from coeffdream.adapters.peft_types import ADAPTER_NAME, with_method
from coeffdream.diffusion.noise import generator_for
from coeffdream.errors import AdapterError, ConfigError

WRAPPED = "base_model.model."


class PeftPart:
    """What PEFT made of a UNet. Its start, and what it draws while training, follow from the seed.

    Raises AdapterError with PEFT's reason; the UNet is then as it was.
    """

    def __init__(self, unet: Any, other: Other, seed: int) -> None:
        if getattr(unet, "peft_config", None):
            raise AdapterError(
                f"the UNet carries a LoRA already, beside which {other.name} cannot be put; take that out first"
            )
        modules = dict(unet.named_modules())
        originals = {path: modules[path] for path in other.modules}
        self._unet, self._other, self._originals = unet, other, originals
        try:
            with torch.random.fork_rng():
                torch.manual_seed(generator_for(seed, "method-init").initial_seed())
                # A copy: PEFT shortens the list of modules.
                self._holder = with_method(unet, other.name, copy.deepcopy(other.config))
        except AdapterError:
            self._put_back()
            raise
        self._holder.train(unet.training)
        trained = [(name, each) for name, each in self._holder.named_parameters() if each.requires_grad]
        self.parameters: dict[str, nn.Parameter] = {
            name.removeprefix(WRAPPED): each for name, each in trained
        }
        coarse = [name for name, each in self.parameters.items() if each.dtype != torch.float32]
        if coarse:
            dtype = str(self.parameters[coarse[0]].dtype).removeprefix("torch.")
            self.take_out()
            raise AdapterError(
                f"PEFT's {other.name} trains in the base's own {dtype}, in which small steps vanish; add --precision fp32"
            )

    def tensors(self) -> dict[str, Tensor]:
        """As PEFT names them; in float32 what is no whole number."""
        from peft import get_peft_model_state_dict

        found = get_peft_model_state_dict(
            self._holder, adapter_name=ADAPTER_NAME, save_embedding_layers=False
        )
        return {name: value.float() if value.is_floating_point() else value for name, value in found.items()}

    def fill(self, tensors: Mapping[str, Tensor]) -> None:
        from peft import set_peft_model_state_dict

        set_peft_model_state_dict(self._holder, dict(tensors), adapter_name=ADAPTER_NAME)

    def draw(self, seed: int, step: int) -> None:
        """PEFT's dropout, and whatever else a method draws, takes torch's own generators."""
        torch.manual_seed(generator_for(seed, "method-dropout", step).initial_seed())

    def set_scale(self, scale: float) -> None:
        for path in self._other.modules:
            layer = self._unet.get_submodule(path)
            if not hasattr(layer, "set_scale") or ADAPTER_NAME not in getattr(layer, "scaling", {}):
                if scale == 1:
                    return
                raise ConfigError(
                    f"PEFT's {self._other.name} has no scale, so there is nothing that --lora-scale {scale:g} could "
                    "weaken; leave it out"
                )
            layer.set_scale(ADAPTER_NAME, scale)

    def fault(self) -> str | None:
        from peft.tuners.tuners_utils import BaseTunerLayer

        for path in self._other.modules:
            layer: Any = self._unet.get_submodule(path)
            if not isinstance(layer, BaseTunerLayer):
                return f"{path} was replaced by another layer"
            if layer.disable_adapters or ADAPTER_NAME not in layer.active_adapters:
                return f"{path} was switched off"
        return None

    def take_out(self) -> None:
        self._holder.unload()
        self._put_back()

    def _put_back(self) -> None:
        """Also where PEFT came half the way."""
        for path, original in self._originals.items():
            parent, _, name = path.rpartition(".")
            setattr(self._unet.get_submodule(parent), name, original)
        if hasattr(self._unet, "peft_config"):
            del self._unet.peft_config


def shapes_of(unet: Any, other: Other) -> dict[str, dict[str, tuple[int, ...]]] | None:
    """Shapes of its `parameters` and of its `tensors`, made without memory; None where PEFT needs the weights for it.

    Raises AdapterError for what does not fit, with PEFT's reason.
    """
    for device in (
        "meta",
        "cpu",
    ):  # where PEFT makes what it does not make beside a weight; two methods need the latter
        try:
            # Nothing is trained: PEFT's warnings are for when it is.
            with torch.device(device), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                part = PeftPart(_without_weights(unet, other.modules), other, 0)
            return {"parameters": _shapes(part.parameters), "tensors": _shapes(part.tensors())}
        except AdapterError as error:
            if not isinstance(error.__cause__, RuntimeError):  # NotImplementedError is one, too
                raise
    return None


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(each.shape) for name, each in tensors.items()}


def _without_weights(unet: Any, paths: Sequence[str]) -> nn.Module:
    """A tree of these linear layers alone, on the meta device."""
    root, modules = nn.Module(), dict(unet.named_modules())
    for path in paths:
        layer = modules.get(path)
        if not isinstance(layer, nn.Linear):
            raise AdapterError(
                f"the UNet has no fitting {path}, which the adapter wants to change; it belongs to another base"
            )
        *parents, name = path.split(".")
        parent = functools.reduce(_child, parents, root)
        bias = layer.bias is not None
        parent.add_module(name, nn.Linear(layer.in_features, layer.out_features, bias=bias, device="meta"))
    return root


def _child(parent: nn.Module, name: str) -> nn.Module:
    if name not in parent._modules:
        parent.add_module(name, nn.Module())
    return parent.get_submodule(name)
