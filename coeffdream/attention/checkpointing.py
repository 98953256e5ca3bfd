"""Gradient checkpointing that does not run mixed attention twice."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from coeffdream.attention.operator import OPERATOR


def checkpoint_keeping_attention(module: torch.nn.Module, *inputs: Any) -> Any:
    """Run `module` and keep of its inside only what mixed attention gave: [B,H,N,d] and one number a row.

    The rest is computed again in the backward pass. For diffusers'
    `enable_gradient_checkpointing(gradient_checkpointing_func=...)`. Maps small enough for the
    definition (see `dispatch`) are computed again too.
    """
    return checkpoint(module, *inputs, use_reentrant=False, context_fn=_contexts)


def _contexts() -> Any:
    return create_selective_checkpoint_contexts([OPERATOR])
