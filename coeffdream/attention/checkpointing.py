"""Gradient checkpointing that does not run mixed attention twice."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from coeffdream.attention.operator import OPERATOR


def checkpoint_keeping_attention(module: torch.nn.Module, *inputs: Any) -> Any:
    """Run `module` and keep of its inside only what mixed attention gave: [B,H,N,d] and one number a row.

    The rest is computed again in the backward pass. For diffusers'
    `enable_gradient_checkpointing(gradient_checkpointing_func=...)`; `module` may hold compiled parts.
    Maps small enough for the definition (see `dispatch`) are computed again too.
    """
    return checkpoint(_apart, module, *inputs, use_reentrant=False, context_fn=_contexts)


def _contexts() -> Any:
    return create_selective_checkpoint_contexts([OPERATOR])


def _apart(module: torch.nn.Module, *inputs: Any) -> Any:
    """`module`, which gets copies of what is kept: compiled code writes over buffers that it needs no longer."""
    if torch.compiler.is_compiling():  # then the compiler knows what is kept
        return module(*inputs)
    with _Copying():
        return module(*inputs)


class _Copying(TorchDispatchMode):
    """Inside the mode that keeps, so that this copies what that one has seen."""

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        return True

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        return tuple(tensor.clone() for tensor in out) if func is OPERATOR else out
