"""The attention layers of a host, named and measured, and which of them a run adapts.

A host is a model that names its attention layers and lets mixed attention take their place: a UNet of diffusers, a
model of transformers, a vision transformer of timm, or one that holds such models, with or without PEFT around it.
What differs between them is in hosts/, a file each with the same functions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from coeffdream.adapters.hosts import timm_vit, transformer, unet
from coeffdream.errors import AttentionError, ConfigError, quoted
from coeffdream.limits import layer_pattern

PROJECTIONS = {"q": "to_q", "k": "to_k", "v": "to_v", "out": "to_out.0"}
HOSTS = (unet, timm_vit, transformer)


@dataclass(frozen=True)
class AttentionLayer:
    """One attention layer: where it is, what it attends to, and its heads.

    `path` is its name inside the model, without what PEFT puts before it.
    """

    index: int
    path: str
    kind: str  # "self" or "cross"
    heads: int
    head_width: int
    module: Any

    @property
    def group(self) -> str:
        """The part of a UNet it lies in: down_blocks.1, mid_block, up_blocks.0, ..."""
        # Every path has a first part, so that the last alternative always fits.
        return re.match(r"(mid_block|[a-z]+_blocks\.\d+|[^.]+)", self.path).group(0)  # type: ignore[union-attr]


def inner_model(model: nn.Module) -> nn.Module:
    """The model itself where PEFT has wrapped it."""
    inner: nn.Module = getattr(model, "get_base_model", lambda: model)()
    return inner


def attention_layers(model: nn.Module) -> list[AttentionLayer]:
    """All attention layers in module order; one that is used many times is listed once.

    Raises AttentionError when there are none.
    """
    inner = inner_model(model)
    layers: list[AttentionLayer] = []
    for path, module in inner.named_modules():
        if host := host_of(module):
            kind = "cross" if host.is_cross(path, module) else "self"
            heads, width = host.sizes(path, module)
            layers.append(AttentionLayer(len(layers), path, kind, heads, width, module))
    if not layers:
        raise AttentionError(
            f"{type(inner).__name__} has no attention layer whose heads can be mixed: none of its modules is diffusers' "
            "or timm's Attention, or takes its attention function from transformers' registry"
        )
    return layers


def matching(layers: Iterable[AttentionLayer], kind: str, pattern: str | None) -> list[AttentionLayer]:
    """Those of a kind ("all", "self", "cross") whose path holds the regular expression. Raises ValueError for none such."""
    found = None if pattern is None else layer_pattern(pattern)
    return [
        layer
        for layer in layers
        if kind in ("all", layer.kind) and (found is None or found.search(layer.path))
    ]


def alpha_layers(layers: list[AttentionLayer], alpha_on: str, pattern: str | None) -> list[AttentionLayer]:
    """The layers whose heads a run mixes. Raises ConfigError when the choice is empty, AttentionError
    when a chosen layer computes something that mixing cannot replace."""
    chosen = matching(layers, alpha_on, pattern)
    if not chosen:
        raise ConfigError(
            f"--alpha-on {alpha_on} with --alpha-layers {quoted(pattern)} matches none of the {len(layers)} attention layers; "
            f"they are called like {layers[0].path}"
        )
    check_served(chosen, "--alpha-layers")
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


def check_groups(layers: Iterable[AttentionLayer], groups: int, given: str, chooses: str) -> None:
    """Raises ConfigError when a layer's heads cannot be cut into so many groups of one size.

    given, chooses: how the caller was told of the groups ("--alpha-groups 3"), and what chooses layers there.
    """
    for layer in layers:
        if groups < 1 or layer.heads % groups:
            raise ConfigError(
                f"{given} does not divide the {layer.heads} heads of {layer.path}; choose a number that "
                f"divides those of every layer, or leave layers out with {chooses}"
            )


def check_served(layers: Sequence[AttentionLayer], chooses: str) -> None:
    """Raises AttentionError when a layer computes something that mixing its heads cannot replace.

    chooses: what the caller can leave a layer out with.
    """
    for layer in layers:
        if refused := host_of(layer.module).refusal(layer.module):
            reason, mend = refused
            raise AttentionError(
                f"{layer.path} cannot mix its heads: {reason}; {mend + ', or ' if mend else ''}leave it out with {chooses}"
            )


def host_of(module: nn.Module) -> Any:
    """The file of hosts/ that knows this attention layer; None for any other module."""
    return next((host for host in HOSTS if host.is_attention(module)), None)
