"""Models of transformers as hosts: every layer that fetches its attention function from the library's registry.

Which layers those are is read from their code, so that no list of model classes has to be kept.
"""

from __future__ import annotations

import copy
import re
from typing import Any

from torch import nn

from coeffdream.adapters.coefficients import SubspaceCoefficients
from coeffdream.adapters.hosts.mixing import ATTRIBUTE, NAMES, register
from coeffdream.adapters.hosts.registry import EAGER, attention_names
from coeffdream.errors import AttentionError, quoted

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


def attach(module: Any, coefficients: SubspaceCoefficients) -> Any:
    """Have the layer mix its heads; what `detach` needs. A config of its own names our function.

    The model's own stays as it is, and so do its masks.
    """
    register()
    before, own = module.config, copy.deepcopy(module.config)
    own._attn_implementation = NAMES[own._attn_implementation]
    module.config = own
    setattr(module, ATTRIBUTE, coefficients)
    return before


def detach(module: Any, before: Any) -> None:
    module.config = before
    delattr(module, ATTRIBUTE)


def coefficients_in(module: Any) -> SubspaceCoefficients | None:
    return getattr(module, ATTRIBUTE, None)


def _first_number(holders: tuple[Any, ...], *names: str) -> int | None:
    found = (getattr(holder, name, None) for holder in holders for name in names)
    return next((number for number in found if isinstance(number, int)), None)
