"""The attention layers of a diffusers UNet, named and measured, and which of them a run adapts."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from coeffdream.errors import AttentionError, ConfigError, quoted
from coeffdream.limits import layer_pattern

PROJECTIONS = {"q": "to_q", "k": "to_k", "v": "to_v", "out": "to_out.0"}

# Processors that compute plain softmax attention over heads, so that mixing can take their place.
SERVED_PROCESSORS = ("AttnProcessor", "AttnProcessor2_0", "XFormersAttnProcessor", "SlicedAttnProcessor")


@dataclass(frozen=True)
class AttentionLayer:
    """One diffusers `Attention`: where it is, what it attends to, and its heads."""

    index: int
    path: str
    kind: str  # "self" or "cross"
    heads: int
    module: Any

    @property
    def group(self) -> str:
        """The part of the UNet it lies in: down_blocks.1, mid_block, up_blocks.0, ..."""
        # Every path has a first part, so that the last alternative always fits.
        return re.match(r"(mid_block|[a-z]+_blocks\.\d+|[^.]+)", self.path).group(0)  # type: ignore[union-attr]


def attention_layers(unet: Any) -> list[AttentionLayer]:
    """All attention layers in module order. Raises AttentionError when there are none."""
    from diffusers.models.attention_processor import Attention

    layers: list[AttentionLayer] = []
    for path, module in unet.named_modules():
        if isinstance(module, Attention):
            kind = "cross" if module.is_cross_attention else "self"
            layers.append(AttentionLayer(len(layers), path, kind, module.heads, module))
    if not layers:
        raise AttentionError(
            f"{type(unet).__name__} has no attention layer that coeffdream knows; it serves SDXL's UNet"
        )
    return layers


def alpha_layers(layers: list[AttentionLayer], alpha_on: str, pattern: str | None) -> list[AttentionLayer]:
    """The layers whose heads are mixed. Raises ConfigError when the choice is empty, AttentionError
    when a chosen layer computes something that mixing cannot replace."""
    chosen = [layer for layer in layers if alpha_on in ("all", layer.kind)]
    if pattern is not None:
        matching = layer_pattern(pattern)
        chosen = [layer for layer in chosen if matching.search(layer.path)]
    if not chosen:
        raise ConfigError(
            f"--alpha-on {alpha_on} with --alpha-layers {quoted(pattern)} matches none of the {len(layers)} attention layers; "
            f"they are called like {layers[0].path}"
        )
    for layer in chosen:
        check_served(layer)
    return chosen


def lora_modules(layers: list[AttentionLayer], targets: str) -> list[str]:
    """Full module paths of the projections that `targets` ("cross.q,cross.v") names."""
    wanted = [part.strip().split(".") for part in targets.split(",")]
    return [
        f"{layer.path}.{PROJECTIONS[projection]}"
        for layer in layers
        for projection in PROJECTIONS
        if any(kind in ("all", layer.kind) and projection == name for kind, name in wanted)
    ]


def check_groups(layers: Iterable[AttentionLayer], groups: int) -> None:
    """Raises ConfigError when a layer's heads cannot be cut into so many groups of one size."""
    for layer in layers:
        if layer.heads % groups:
            raise ConfigError(
                f"--alpha-groups {groups} does not divide the {layer.heads} heads of {layer.path}; choose a number that "
                "divides those of every layer, or leave layers out with --alpha-layers"
            )


def check_served(layer: AttentionLayer) -> None:
    """Raises AttentionError when the layer computes something that mixing its heads cannot replace."""
    module = layer.module
    processor = type(module.processor).__name__
    reasons = [
        (module.added_kv_proj_dim is not None, "it has added key and value projections"),
        # The flag module.fused_projections stays set when diffusers unfuses; the processor tells.
        ("Fused" in processor, "its projections are fused; call unfuse_qkv_projections() first"),
        (module.inner_kv_dim != module.inner_dim, "its key and value heads are fewer than its query heads"),
        (module.is_causal, "it is causal"),
        (processor not in SERVED_PROCESSORS, f"its processor is {processor}"),
    ]
    for refused, reason in reasons:
        if refused:
            raise AttentionError(
                f"{layer.path} cannot mix its heads: {reason}. Served: {', '.join(SERVED_PROCESSORS)}. "
                "Leave it out with --alpha-layers, or remove what replaced its processor (an IP-Adapter, say)"
            )
