"""Mixed attention as torch.library operators: forward, backward, their fakes, and autograd between them.

torch.compile keeps each as one node, and selective activation checkpointing can name OPERATOR to have its
output saved. There is no double backward.

Beside plain attention (`residual`) the forward adds what SDPA gives, to its own last bit; the backward of the sum is
one of mixed attention with I + mixing, so that SDPA's own is not run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from coeffdream.attention import chunked, flash
from coeffdream.attention.autocast import no_autocast
from coeffdream.attention.errors import AttentionNotImplementedError, named
from coeffdream.attention.kept import taken

LATER = "auto"  # a backend that is chosen when the operator runs

_INPUTS = "Tensor query, Tensor key, Tensor value, Tensor mixing, Tensor? attn_mask, float? scale, str backend, bool residual"


def apply(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mixing: Tensor,
    attn_mask: Tensor | None,
    scale: float | None,
    backend: str,
    residual: bool = False,
) -> Tensor:
    """Arguments as in `dispatch.mixed_attention`; backend is "chunked", "flash", "triton" or LATER."""
    return forward(query, key, value, mixing, attn_mask, scale, backend, residual)[0]


class _Choice:
    """Who answers for LATER; `dispatch` says it, which knows the operator and the choice."""

    of: Callable[[Tensor, Tensor, Tensor | None], str]


def choose_by(choice: Callable[[Tensor, Tensor, Tensor | None], str]) -> None:
    """choice: of query, key and attn_mask, a backend."""
    _Choice.of = staticmethod(choice)


def _settled(backend: str, query: Tensor, key: Tensor, attn_mask: Tensor | None) -> str:
    """What serves a call of compiled code, whose autograd was settled before: flash, which has it find SDPA's, does not."""
    if backend != LATER:
        return backend
    return "triton" if _Choice.of(query, key, attn_mask) == "triton" else "chunked"


def _forward_of(backend: str) -> Callable[..., tuple[Tensor, Tensor]]:
    if backend != "triton":
        return {"chunked": chunked, "flash": flash}[backend].forward
    from coeffdream.attention import triton_forward

    return triton_forward.forward


def _backward_of(backend: str) -> Callable[..., None]:
    if backend == "chunked":
        return chunked.backward
    from coeffdream.attention import triton_backward

    return triton_backward.backward


def why_not_triton(query: Tensor, attn_mask: Tensor | None) -> str | None:
    """Why the Triton kernels cannot serve this call; None if they can."""
    try:
        from coeffdream.attention.triton_common import why_not
    except ImportError as error:
        return f"triton cannot be imported ({error})"
    return why_not(query, attn_mask)


def _check_triton(query: Tensor, attn_mask: Tensor | None) -> None:
    """Inside the operator, where torch.compile does not look: it asks the device and the environment."""
    problem = why_not_triton(query, attn_mask)
    if problem is not None:
        got = named(query) + ("" if attn_mask is None else f", attn_mask {named(attn_mask)}")
        raise AttentionNotImplementedError(
            f"attention backend 'triton': {problem}; got query {got}; auto, reference, chunked and flash serve it"
        )


@torch.library.custom_op(
    "coeffdream::mixed_attention", mutates_args=(), schema=f"({_INPUTS}) -> (Tensor, Tensor)"
)
def forward(query, key, value, mixing, attn_mask, scale, backend, residual):
    """The output and each backend's own log-sum-exp [B,H,N]."""
    backend = _settled(backend, query, key, attn_mask)
    if backend == "triton":
        _check_triton(query, attn_mask)

    def compute() -> tuple[Tensor, Tensor]:
        with no_autocast(query.device.type), torch.cuda.device_of(query):
            out, lse = _forward_of(backend)(query, key, value, mixing, attn_mask, scale)
            if residual:
                out += F.scaled_dot_product_attention(query, key, value, attn_mask=attn_mask, scale=scale)
            return out, lse

    return taken(query, compute)


@forward.register_fake
def _(query, key, value, mixing, attn_mask, scale, backend, residual):
    work = torch.promote_types(query.dtype, torch.float32)
    return taken(query, lambda: (torch.empty_like(query), query.new_empty(query.shape[:3], dtype=work)))


@torch.library.custom_op(
    "coeffdream::mixed_attention_backward",
    mutates_args=(),
    schema=f"(Tensor grad_out, Tensor lse, {_INPUTS}, bool[] needed) -> (Tensor, Tensor, Tensor, Tensor)",
)
def backward(grad_out, lse, query, key, value, mixing, attn_mask, scale, backend, residual, needed):
    """The gradients of query, key, value and mixing; an empty tensor in place of each one not needed."""
    backend = _settled(backend, query, key, attn_mask)
    grads = _like((query, key, value, mixing), needed)
    saved = (query, key, value, _whole(mixing, residual), attn_mask, scale)
    with no_autocast(query.device.type), torch.cuda.device_of(query):
        _backward_of(backend)(grad_out, lse, *saved, grads, needed)
    return grads


@backward.register_fake
def _(grad_out, lse, query, key, value, mixing, attn_mask, scale, backend, residual, needed):
    return _like((query, key, value, mixing), needed)


def _whole(mixing: Tensor, residual: bool) -> Tensor:
    """I + mixing where plain attention is added; never in half precision, which has few numbers around 1."""
    if not residual:
        return mixing
    eye = torch.eye(len(mixing), dtype=torch.promote_types(mixing.dtype, torch.float32), device=mixing.device)
    return mixing + eye


def _like(tensors: tuple[Tensor, ...], needed: list[bool]) -> tuple[Tensor, ...]:
    return tuple(torch.empty_like(t) if n else t.new_empty(0) for t, n in zip(tensors, needed, strict=True))


def _setup_context(ctx: Any, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.scale, ctx.backend, ctx.residual = inputs
    ctx.save_for_backward(output[1], *tensors)
    ctx.mark_non_differentiable(output[1])


def _autograd(ctx: Any, grad_out: Tensor, _grad_lse: Any) -> tuple[Tensor | None, ...]:
    needed = list(ctx.needs_input_grad[:4])
    if ctx.backend == "flash":  # its backward is that of SDPA, which autograd has to find
        with no_autocast(grad_out.device.type):
            _, query, key, value, mixing, mask = ctx.saved_tensors
            whole = _whole(mixing, ctx.residual)
            grads = flash.backward(grad_out, query, key, value, whole, mask, ctx.scale, needed)
        return *grads, None, None, None, None
    grads = backward(grad_out, *ctx.saved_tensors, ctx.scale, ctx.backend, ctx.residual, needed)
    return *(g if n else None for g, n in zip(grads, needed, strict=True)), None, None, None, None


forward.register_autograd(_autograd, setup_context=_setup_context)

OPERATOR = torch.ops.coeffdream.mixed_attention.default
