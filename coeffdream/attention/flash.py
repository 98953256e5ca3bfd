"""Mixed attention from plain `scaled_dot_product_attention` alone, on whatever device has one.

One head's values, given to all heads, come back as what every map makes of them, and O_h is a weighted sum of that:

    Y_hi = A^i V_h  (SDPA of Q, K and V_h for all i)      O_h = sum_i a_hi Y_hi
    da_hi = <dO_h, Y_hi>                                  dY_hi = a_hi dO_h, from which SDPA's own backward goes on

H times the work of plain attention, and no map is kept; the backward computes Y again, one output head at a time.
Y is rounded to the inputs' dtype, as plain attention rounds; weights, sums over heads and da are float32.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def forward(
    query: Tensor, key: Tensor, value: Tensor, mixing: Tensor, attn_mask: Tensor | None, scale: float | None
) -> tuple[Tensor, Tensor]:
    """The output; no log-sum-exp is needed, so that of every row [B,H,N] is 0."""
    work = torch.promote_types(query.dtype, torch.float32)
    mask = _mask(attn_mask, query, key)
    out = torch.empty_like(query)
    for head, weights in enumerate(mixing.to(work)):
        seen = _seen(query, key, value[:, head : head + 1], mask, scale)
        out[:, head] = torch.einsum("i,bind->bnd", weights, seen.to(work))
    return out, query.new_zeros(query.shape[:3], dtype=work)


@torch.no_grad()  # there is no second derivative
def backward(
    grad_out: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mixing: Tensor,
    attn_mask: Tensor | None,
    scale: float | None,
    needed: list[bool],
) -> tuple[Tensor | None, ...]:
    """The gradients of query, key, value and mixing that are needed, None for the others."""
    work = torch.promote_types(query.dtype, torch.float32)
    mask = _mask(attn_mask, query, key)
    mixing = mixing.detach()
    query, key, value = (
        tensor.detach().requires_grad_(need)
        for tensor, need in zip((query, key, value), needed[:3], strict=True)
    )
    sums = [torch.zeros_like(t, dtype=work) if t.requires_grad else None for t in (query, key, value)]
    grad_mixing = torch.zeros_like(mixing)
    for head, weights in enumerate(mixing.to(work)):
        grad = grad_out[:, head].to(work)
        with torch.enable_grad():
            own = value[:, head : head + 1]
            seen = _seen(query, key, own, mask, scale)
        grad_mixing[head] = torch.einsum("bnd,bind->i", grad, seen.detach().to(work))
        wanted = [t for t in (query, key, own) if t.requires_grad]
        if wanted:
            grad_seen = (weights[:, None, None] * grad[:, None]).to(seen.dtype)
            grads = iter(torch.autograd.grad(seen, wanted, grad_seen))
            for total, place in zip(sums, (slice(None), slice(None), slice(head, head + 1)), strict=True):
                if total is not None:
                    total[:, place] += next(grads)
    made = [None if t is None else t.to(query.dtype) for t in sums]
    return *made, grad_mixing if needed[3] else None


def _seen(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float | None) -> Tensor:
    """What each head's map makes of one head's values [B,1,M,d]: [B,H,N,d]."""
    return F.scaled_dot_product_attention(query, key, value.expand(key.shape), attn_mask=mask, scale=scale)


def _mask(mask: Tensor | None, query: Tensor, key: Tensor) -> Tensor | None:
    """As every kernel of SDPA takes it: of four dimensions and, if added, of query's dtype."""
    if mask is None:
        return None
    mask = mask if mask.dtype == torch.bool else mask.to(query.dtype)
    return mask.expand(*query.shape[:3], key.shape[2])
