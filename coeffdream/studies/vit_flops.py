"""What one picture costs a vision transformer: floating-point operations of its forward pass, counted by torch."""

from __future__ import annotations

from typing import Any

import torch

from coeffdream.attention.operator import OPERATOR


def gflops(model: Any, side: int) -> float:
    """Of one picture, in 10^9; a multiplication and its addition are two, as torch counts them."""
    from torch.utils.flop_counter import FlopCounterMode

    was, device = model.training, next(model.parameters()).device
    pixels = torch.zeros(1, 3, side, side, device=device)
    counter = FlopCounterMode(display=False, custom_mapping={OPERATOR.overloadpacket: _mixed_attention_flops})
    with torch.no_grad(), counter:
        model.eval()(pixel_values=pixels)
    model.train(was)
    return counter.get_total_flops() / 1e9


def _mixed_attention_flops(
    query: torch.Size,
    key: torch.Size,
    value: torch.Size,
    mixing: torch.Size,
    attn_mask: torch.Size | None,
    scale: float | None,
    backend: str,
    residual: bool,
    **_: Any,
) -> int:
    """Q K^T and A V as in plain attention, twice beside it, and the mixing of H maps into H. Shapes: [B, H, N or M, d]."""
    batch, heads, queries, width = query
    keys = key[2]
    return 2 * batch * heads * queries * keys * (2 * width * (1 + residual) + heads)
