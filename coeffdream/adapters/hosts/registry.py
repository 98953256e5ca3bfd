"""How models of transformers come to their attention function: by the library's registry, named in their code."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from torch import nn

REGISTRY = "ALL_ATTENTION_FUNCTIONS"
EAGER = "eager_attention_forward"


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
