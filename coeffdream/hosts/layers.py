"""The attention layers of any host: a model of transformers, or a UNet of diffusers.

Every layer that fetches its attention function from transformers' registry can be given another one. Which layers
those are is read from their code, so that no list of model classes has to be kept.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from coeffdream.adapters.layers import AttentionLayer, attention_layers, check_served
from coeffdream.errors import AttentionError, ConfigError, quoted
from coeffdream.limits import layer_pattern

REGISTRY = "ALL_ATTENTION_FUNCTIONS"
EAGER = "eager_attention_forward"
KINDS = ("all", "self", "cross")
SERVED = ("sdpa", "eager")
# How the library's models call the part of a decoder layer that looks at the encoder.
CROSS = re.compile(r"cross|enc(oder)?_?dec|encoder_att", re.IGNORECASE)


@dataclass(frozen=True)
class HostLayer:
    """One attention layer. `path` is its name inside the model, without what PEFT puts before it."""

    path: str
    kind: str  # "self" or "cross"
    heads: int
    head_width: int
    module: Any  # of either library, with what its attention has


def inner_model(model: nn.Module) -> nn.Module:
    """The model itself where PEFT has wrapped it."""
    inner: nn.Module = getattr(model, "get_base_model", lambda: model)()
    return inner


def host_layers(model: nn.Module) -> list[HostLayer]:
    """All layers whose heads can be mixed, in module order; one that is used many times is listed once.

    Raises AttentionError when there are none.
    """
    inner = inner_model(model)
    layers = [
        HostLayer(path, "cross" if _is_cross(path, module) else "self", *_sizes(path, module), module)
        for path, module in inner.named_modules()
        if attention_names(module) is not None and hasattr(module, "config")
    ]
    if any(type(module).__module__.startswith("diffusers.") for module in inner.modules()):
        layers += [
            HostLayer(each.path, each.kind, each.heads, each.module.inner_dim // each.heads, each.module)
            for each in attention_layers(inner)
        ]
    if not layers:
        raise AttentionError(
            f"{type(inner).__name__} has no attention layer whose heads can be mixed: none of its modules takes its "
            "attention function from transformers' registry"
        )
    return layers


def chosen_layers(layers: list[HostLayer], wanted: str) -> list[HostLayer]:
    """Those that `wanted` names: "all", "self", "cross", or a regular expression that a path must hold.

    Raises ConfigError when that is none, AttentionError when one computes what mixing cannot replace.
    """
    if wanted in KINDS:
        chosen = [layer for layer in layers if wanted in ("all", layer.kind)]
    else:
        try:
            pattern = layer_pattern(wanted)
        except ValueError as error:
            raise ConfigError(f"layers={quoted(wanted)} is no regular expression: {error}") from None
        chosen = [layer for layer in layers if pattern.search(layer.path)]
    if not chosen:
        raise ConfigError(
            f"layers={quoted(wanted)} matches none of the {len(layers)} attention layers, which are called like "
            f"{layers[0].path}; give one of {', '.join(KINDS)}, or a regular expression"
        )
    for layer in chosen:
        _check_served(layer)
    return chosen


def is_of_diffusers(module: nn.Module) -> bool:
    return hasattr(module, "set_processor")


def attention_names(module: nn.Module) -> dict[str, Any] | None:
    """The names that the module's attention code sees (its file's globals), None if it is no such layer."""
    for function in _methods(type(module)):
        if REGISTRY in function.__code__.co_names:
            return function.__globals__
    return None


def _methods(kind: type) -> Iterator[Any]:
    """A class's own, without those that every model has of the library, which only name the registry."""
    for each in kind.__mro__:
        if each.__module__.startswith(("torch.", "transformers.modeling_utils")):
            return
        yield from (inspect.unwrap(value) for value in vars(each).values() if inspect.isfunction(value))


def _is_cross(path: str, module: nn.Module) -> bool:
    """By the part of the path after the number of its block, and by its class."""
    own = re.split(r"\.\d+\.", f".{path}")[-1]
    return bool(CROSS.search(own) or CROSS.search(type(module).__name__))


def _sizes(path: str, module: nn.Module) -> tuple[int, int]:
    """Heads, and the width of one."""
    holders = (module, module.config)
    heads = _first_number(holders, "num_attention_heads", "num_heads", "n_heads")
    if heads is None:
        raise AttentionError(f"{path} ({type(module).__name__}) does not say how many heads it has")
    width = _first_number(holders, "head_dim", "attention_head_size", "d_kv", "key_value_proj_dim")
    # Of the channels that go in, where neither the layer nor its config says.
    return heads, width or next(module.parameters()).shape[-1] // heads


def _first_number(holders: tuple[Any, ...], *names: str) -> int | None:
    found = (getattr(holder, name, None) for holder in holders for name in names)
    return next((number for number in found if isinstance(number, int)), None)


def _check_served(layer: HostLayer) -> None:
    if is_of_diffusers(layer.module):
        check_served(AttentionLayer(0, layer.path, layer.kind, layer.heads, layer.module))
        return
    names, now = attention_names(layer.module) or {}, layer.module.config._attn_implementation
    if now not in SERVED:
        raise AttentionError(
            f"{layer.path} cannot mix its heads: its attention is {quoted(now)}; load the model with attn_implementation "
            f"{' or '.join(SERVED)}"
        )
    if EAGER not in names:
        raise AttentionError(
            f"{layer.path} cannot mix its heads: {type(layer.module).__name__} has no {EAGER} beside it; leave it out "
            "with layers="
        )
