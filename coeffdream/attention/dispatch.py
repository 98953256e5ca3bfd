"""The one door to mixed attention: checks what came in, then chooses who computes it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from coeffdream.attention import choice, operator
from coeffdream.attention.autocast import cast_inputs, no_autocast
from coeffdream.attention.choice import choose
from coeffdream.attention.errors import AttentionValueError, named
from coeffdream.attention.reference import reference

BACKENDS = ("auto", *choice.BACKENDS)
operator.choose_by(choose)

_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def mixed_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mixing: Tensor,
    *,
    attn_mask: Tensor | None = None,
    scale: float | None = None,
    residual: bool = False,
    backend: str = "auto",
) -> Tensor:
    """Attention whose softmax maps are mixed over heads: O^h = (sum_i mixing[h, i] A^i) V^h.

    Eq. 9-10 of Coeff-Tuning (arXiv 2503.18337), A^i = softmax(scale * Q^i K^iT). mixing = I is
    `scaled_dot_product_attention`; Coeff-Tuning gives I + alpha, dropout already applied to alpha.

    Args:
        query: [B,H,N,d]. float16, bfloat16, float32 or float64.
        key: [B,H,M,d], same dtype and device.
        value: [B,H,M,d], same dtype and device.
        mixing: [H,H], rows are output heads; unconstrained. The dtype of query, or float32 beside
            float16 and bfloat16, which is the usual case: it is never rounded to theirs.
        attn_mask: boolean (True: may attend) or additive, broadcastable to [B,H,N,M]. A query that may
            attend to no key gets zeros. It gets no gradient.
        scale: of the logits; 1/sqrt(d) if None.
        residual: also add `scaled_dot_product_attention` itself, for mixing = alpha where I + alpha mixes: linear in
            it, so this is Eq. 9-11, but alpha = 0 is then plain attention to the last bit in every dtype.
        backend: "reference" (the definition; keeps the maps), "chunked" (exact, any device, memory linear
            in N, no double backward), "flash" (plain SDPA for one output head at a time; any device, linear too), "triton"
            (CUDA), or "auto", which always answers.

    Returns:
        [B,H,N,d] in query's dtype, differentiable in query, key, value and mixing. Under autocast
        query, key and value are cast as `scaled_dot_product_attention` casts them; mixing is not.

    Raises:
        AttentionError: for anything else. It is a ValueError too, or a NotImplementedError for a backend
            that cannot serve. NaN or infinity in mixing is looked for on the CPU only: reading it from
            a GPU would wait for the device.
    """
    query, key, value = cast_inputs(query, key, value)
    _check(query, key, value, mixing, attn_mask)
    if backend not in BACKENDS:
        raise AttentionValueError(f"attention backend {backend!r}: served are {', '.join(BACKENDS)}")
    if backend == "auto":
        backend = choose(query, key, attn_mask)
    if backend != "reference":
        return operator.apply(query, key, value, mixing, attn_mask, scale, backend, residual)
    with no_autocast(query.device.type):
        mixed = reference(query, key, value, mixing, attn_mask=attn_mask, scale=scale)
        if residual:
            mixed = mixed + F.scaled_dot_product_attention(
                query, key, value, attn_mask=attn_mask, scale=scale
            )
        return mixed


def _check(query: Tensor, key: Tensor, value: Tensor, mixing: Tensor, attn_mask: Tensor | None) -> None:
    problem = _problem(query, key, value, mixing, attn_mask)
    if problem is None:
        return
    tensors = {"query": query, "key": key, "value": value, "mixing": mixing, "attn_mask": attn_mask}
    got = ", ".join(f"{name} {named(t)}" for name, t in tensors.items() if t is not None)
    raise AttentionValueError(f"mixed attention: {problem}; got {got}")


def _problem(
    query: Tensor, key: Tensor, value: Tensor, mixing: Tensor, attn_mask: Tensor | None
) -> str | None:
    if not query.ndim == key.ndim == value.ndim == 4:
        return "query must be [B,H,N,d], key and value [B,H,M,d]"
    batch, heads, queries, head_dim = query.shape
    keys = key.shape[2]
    if key.shape != (batch, heads, keys, head_dim) or value.shape != key.shape:
        return "query [B,H,N,d], key [B,H,M,d] and value [B,H,M,d] must agree in B, H, M and d"
    if 0 in query.shape or keys == 0:
        return "no size of query [B,H,N,d] and key [B,H,M,d] may be 0"
    if mixing.shape != (heads, heads):
        return f"mixing must be [{heads},{heads}], a row and a column for each of the {heads} heads of query"
    if not query.dtype == key.dtype == value.dtype or query.dtype not in _DTYPES:
        return "query, key and value must have one dtype out of float16, bfloat16, float32, float64"
    if mixing.dtype != query.dtype and (mixing.dtype, query.dtype.itemsize) != (torch.float32, 2):
        return "mixing must have the dtype of query, or be float32 beside float16 or bfloat16"
    tensors = [query, key, value, mixing] + ([] if attn_mask is None else [attn_mask])
    if any(t.device != query.device for t in tensors):
        return "all tensors must be on one device"
    # A GPU would have to wait for the answer; a fake or traced tensor has no values to look at.
    readable = mixing.device.type == "cpu" and type(mixing) in (Tensor, torch.nn.Parameter)
    if readable and not torch.compiler.is_compiling() and not mixing.isfinite().all():
        return f"mixing holds {int((~mixing.isfinite()).sum())} NaN or infinite coefficients"
    return None if attn_mask is None else _mask_problem(attn_mask, (batch, heads, queries, keys))


def _mask_problem(mask: Tensor, shape: tuple[int, ...]) -> str | None:
    if mask.dtype != torch.bool and not mask.is_floating_point():
        return "attn_mask must be boolean (True: may attend) or floating point (added to the logits)"
    sizes = zip(reversed(mask.shape), reversed(shape), strict=False)
    if mask.ndim > 4 or any(m not in (1, n) for m, n in sizes):
        return f"attn_mask must be broadcastable to [B,H,N,M] = {[*shape]}"
    if mask.requires_grad and torch.is_grad_enabled():
        return "attn_mask gets no gradient: pass attn_mask.detach()"
    return None
