"""The attention layers of a transformer from Hugging Face's library, found by what their code does.

Every layer that fetches its attention function from the library's registry can be given another one.
Which layers those are is read from their `forward`, so that no list of model classes has to be kept.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

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
    module: nn.Module


def inner_model(model: nn.Module) -> nn.Module:
    """The model itself where PEFT has wrapped it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator]


def host_layers(model: nn.Module) -> list[HostLayer]:
    """All layers whose heads can be mixed, in module order; one that is used many times is listed once.

    Raises AttentionError when there are none.
    """
    inner = inner_model(model)
    layers = [
        HostLayer(path, "cross" if _is_cross(path, module) else "self", _heads(path, module), module)
        for path, module in inner.named_modules()
        if attention_names(module) is not None and hasattr(module, "config")
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


def _heads(path: str, module: nn.Module) -> int:
    for holder in (module, module.config):
        for name in ("num_attention_heads", "num_heads", "n_heads"):
            if isinstance(found := getattr(holder, name, None), int):
                return found
    raise AttentionError(f"{path} ({type(module).__name__}) does not say how many heads it has")


def _check_served(layer: HostLayer) -> None:
    names, now = attention_names(layer.module) or {}, layer.module.config._attn_implementation  # type: ignore[union-attr]
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
