"""Gradient checkpointing that does not run mixed attention twice."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from coeffdream.attention.kept import passes
from coeffdream.attention.operator import OPERATOR


def checkpoint_keeping_attention(module: torch.nn.Module, *inputs: Any) -> Any:
    """Run `module` and keep of its inside only what mixed attention gave: [B,H,N,d] and one number a row.

    The rest is computed again in the backward pass. For diffusers'
    `enable_gradient_checkpointing(gradient_checkpointing_func=...)`; `module` may hold compiled parts.
    Maps small enough for the definition (see `dispatch`) are computed again too.
    """
    # A compiler knows itself what is kept. Else the operator's own kernel keeps and recalls: no hook on any other.
    contexts = _for_the_compiler if torch.compiler.is_compiling() else passes
    # A CUDA graph that is being recorded has no random state to save, and a UNet without dropout draws nothing.
    saved = not (torch.cuda.is_available() and torch.cuda.is_current_stream_capturing())
    return checkpoint(module, *inputs, use_reentrant=False, context_fn=contexts, preserve_rng_state=saved)


def _for_the_compiler() -> Any:
    return create_selective_checkpoint_contexts([OPERATOR])
