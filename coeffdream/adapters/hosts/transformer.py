"""Models of transformers as hosts: every layer that fetches its attention function from the library's registry.

Which layers those are is read from their code, so that no list of model classes has to be kept.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

from torch import nn

from coeffdream.errors import AttentionError, quoted

REGISTRY = "ALL_ATTENTION_FUNCTIONS"
EAGER = "eager_attention_forward"
SERVED = ("sdpa", "eager")
# How the library's models call the part of a decoder layer that looks at the encoder.
CROSS = re.compile(r"cross|enc(oder)?_?dec|encoder_att", re.IGNORECASE)


def is_attention(module: nn.Module) -> bool:
    return attention_names(module) is not None and hasattr(module, "config")


def is_cross(path: str, module: nn.Module) -> bool:
    """By the part of the path after the number of its block, and by its class."""
    own = re.split(r"\.\d+\.", f".{path}")[-1]
    return bool(CROSS.search(own) or CROSS.search(type(module).__name__))


def sizes(path: str, module: Any) -> tuple[int, int]:
    """Heads, and the width of one. Raises AttentionError where the layer does not say."""
    holders = (module, module.config)
    heads = _first_number(holders, "num_attention_heads", "num_heads", "n_heads")
    if heads is None:
        raise AttentionError(f"{path} ({type(module).__name__}) does not say how many heads it has")
    width = _first_number(holders, "head_dim", "attention_head_size", "d_kv", "key_value_proj_dim")
    # Of the channels that go in, where neither the layer nor its config says.
    return heads, width or next(module.parameters()).shape[-1] // heads


def refusal(module: Any) -> tuple[str, str] | None:
    """Why mixing its heads cannot take the place of what the layer computes, and what would mend that ("" for nothing)."""
    now = module.config._attn_implementation
    if now not in SERVED:
        return (
            f"its attention is {quoted(now)}",
            f"load the model with attn_implementation {' or '.join(SERVED)}",
        )
    if EAGER not in (attention_names(module) or {}):
        return f"{type(module).__name__} has no {EAGER} beside it", ""
    return None


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


def _first_number(holders: tuple[Any, ...], *names: str) -> int | None:
    found = (getattr(holder, name, None) for holder in holders for name in names)
    return next((number for number in found if isinstance(number, int)), None)
