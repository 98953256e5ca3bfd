"""Plain attention and what alpha adds to it, in one call."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from coeffdream.attention import mixed_attention
from coeffdream.attention.checkpointing import checkpoint_keeping_attention
from coeffdream.attention.reference import reference

BACKENDS = ("reference", "chunked", "flash")
BATCH, HEADS, QUERIES, KEYS, HEAD_DIM = 2, 3, 9, 7, 4


def drawn(dtype: torch.dtype) -> list[Tensor]:
    torch.manual_seed(0)
    shapes = [(BATCH, HEADS, length, HEAD_DIM) for length in (QUERIES, KEYS, KEYS)]
    query, key, value = (torch.randn(shape, dtype=dtype) for shape in shapes)
    work = torch.promote_types(dtype, torch.float32)
    return [query, key, value, 0.3 * torch.randn(HEADS, HEADS, dtype=work)]


def masks() -> dict[str, Tensor | None]:
    causal = torch.ones(QUERIES, KEYS, dtype=torch.bool).tril()
    return {"none": None, "boolean": causal, "added": torch.where(causal, 0.0, -3.0)}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("mask", ["none", "boolean", "added"])
def test_values_and_gradients_are_those_of_identity_plus_alpha(backend, mask):
    """The backward that stands for both is that of the definition with I + alpha."""
    inputs, mask = drawn(torch.float64), masks()[mask]
    mask = mask if mask is None or mask.dtype == torch.bool else mask.double()
    found, right = ([tensor.clone().requires_grad_() for tensor in inputs] for _ in range(2))
    out = mixed_attention(*found, attn_mask=mask, scale=0.4, residual=True, backend=backend)
    query, key, value, alpha = right
    expected = reference(query, key, value, alpha + torch.eye(HEADS), attn_mask=mask, scale=0.4)
    torch.testing.assert_close(out, expected)
    weights = torch.randn_like(out)
    ours, theirs = (
        torch.autograd.grad(each, given, weights) for each, given in ((out, found), (expected, right))
    )
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_zero_alpha_is_plain_attention_to_the_last_bit(backend, dtype):
    """An untouched model has to stay one, rounding included."""
    query, key, value, alpha = drawn(dtype)
    out = mixed_attention(query, key, value, torch.zeros_like(alpha), residual=True, backend=backend)
    assert torch.equal(out, F.scaled_dot_product_attention(query, key, value))


def test_alpha_in_half_precision_loses_nothing_beside_the_identity():
    """1.003 is 1 in bfloat16: the whole matrix of the backward is float32."""
    query, key, value, _ = drawn(torch.bfloat16)
    alpha = (0.003 * torch.eye(HEADS)).bfloat16()
    value.requires_grad_()
    out = mixed_attention(query, key, value, alpha, residual=True, backend="chunked")
    [grad] = torch.autograd.grad(out, value, torch.ones_like(out))
    exact = [tensor.detach().double() for tensor in (query, key, value)]
    exact[2].requires_grad_()
    [plain] = torch.autograd.grad(reference(*exact, torch.eye(HEADS).double()).sum(), exact[2])
    added = (grad.double() * plain).sum() / plain.square().sum() - 1
    assert added == pytest.approx(0.003, abs=0.001)


def test_checkpointing_runs_neither_attention_twice(monkeypatch):
    """What is kept is the sum; plain attention would otherwise be computed again for each layer."""
    inputs = [tensor.requires_grad_() for tensor in drawn(torch.float32)]
    calls = []
    plain = F.scaled_dot_product_attention

    def counted(*args, **kwargs):
        calls.append(1)
        return plain(*args, **kwargs)

    monkeypatch.setattr(F, "scaled_dot_product_attention", counted)

    class Layer(torch.nn.Module):
        def forward(self, *given):
            return mixed_attention(*given, residual=True, backend="chunked").sin()

    checkpoint_keeping_attention(Layer(), *inputs).sum().backward()
    assert len(calls) == 1
