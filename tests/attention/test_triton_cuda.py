from __future__ import annotations

import pytest
import torch

from coeffdream.attention import mixed_attention

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize(
    ("batch", "heads", "queries", "keys", "head_dim"),
    [
        (2, 10, 300, 333, 64),
        (2, 20, 257, 77, 64),
        (1, 10, 4096, 4096, 64),
        (1, 7, 63, 140, 40),
        (1, 4, 99, 200, 128),
    ],
)
def test_triton_on_a_card(draw, dtype, batch, heads, queries, keys, head_dim):
    """What the interpreter cannot show: bfloat16, tensor cores, races. One unit in the last place, in norm."""
    inputs, grad_out = draw(batch, heads, queries, keys, head_dim, dtype=dtype)
    inputs = [t.detach().cuda().requires_grad_() for t in inputs]
    grad_out = grad_out.cuda()
    out = mixed_attention(*inputs, backend="triton")
    got = (out, *torch.autograd.grad(out, inputs, grad_out))
    exact = [t.detach().double().requires_grad_() for t in inputs]
    out = mixed_attention(*exact, backend="chunked")
    expected = (out, *torch.autograd.grad(out, exact, grad_out.double()))
    limit = 1e-5 if dtype == torch.float32 else torch.finfo(dtype).eps
    for mine, theirs in zip(got, expected, strict=True):
        assert (mine.double() - theirs).norm() <= limit * theirs.norm()


def test_beside_plain_attention_on_a_card(draw):
    """alpha = 0 is the card's own attention to the last bit; the backward is that of I + alpha, twice the same."""
    inputs, grad_out = draw(1, 10, 1024, 1024, 64, dtype=torch.bfloat16)
    inputs = [t.detach().cuda().requires_grad_() for t in inputs]
    query, key, value, mixing = inputs
    plain = torch.nn.functional.scaled_dot_product_attention(query, key, value)
    zero = torch.zeros_like(mixing)
    assert torch.equal(mixed_attention(query, key, value, zero, residual=True, backend="triton"), plain)
    found = []
    for _ in range(2):
        out = mixed_attention(*inputs, residual=True, backend="triton")
        found.append((out, *torch.autograd.grad(out, inputs, grad_out.cuda())))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    exact = [t.detach().double().requires_grad_() for t in inputs]
    whole = exact[3] + torch.eye(10, device="cuda")
    out = mixed_attention(*exact[:3], whole, backend="chunked")
    expected = (out, *torch.autograd.grad(out, exact, grad_out.cuda().double()))
    for mine, theirs in zip(found[0], expected, strict=True):
        assert (mine.double() - theirs).norm() <= torch.finfo(torch.bfloat16).eps * theirs.norm()
