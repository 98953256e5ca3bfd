"""Autocast around mixed attention: the tensors are cast as it wishes, the arithmetic inside is not."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

# The one device without autocast. Asked by name: torch.compile of torch 2.11 cannot trace the question.
NONE = "meta"


def cast_inputs(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors in autocast's dtype if it is on for their device, as `scaled_dot_product_attention` casts.

    torch.library's register_autocast would cast every argument, the mixing matrix too: in bfloat16,
    I + alpha loses each alpha on the diagonal below 0.004.
    """
    device = tensors[0].device.type
    if device == NONE or not torch.is_autocast_enabled(device):
        return tensors
    dtype = torch.get_autocast_dtype(device)
    return tuple(t.to(dtype) if t.is_floating_point() and t.dtype != torch.float64 else t for t in tensors)


def no_autocast(device: str) -> AbstractContextManager:
    """Inside, float32 products stay float32."""
    return nullcontext() if device == NONE else torch.autocast(device, enabled=False)
