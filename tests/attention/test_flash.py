"""Mixed attention from plain SDPA alone: held against the definition, output and the four gradients."""

from __future__ import annotations

import functools

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from coeffdream.attention import mixed_attention

flash = functools.partial(mixed_attention, backend="flash")
reference = functools.partial(mixed_attention, backend="reference")

# Of the norm: float32 sums, and SDPA's own rounding of what it gives in half.
ROUNDING = {torch.float64: 1e-12, torch.float32: 3e-6, torch.bfloat16: 1e-2, torch.float16: 1.5e-3}


def errors(inputs, grad_out, **options):
    """Relative error of the output and of every gradient, in norm."""
    wanted = [t for t in inputs if t.requires_grad]
    results = []
    for call in (flash, reference):
        out = call(*inputs, **options)
        results.append([out.detach(), *torch.autograd.grad(out, wanted, grad_out)])
    return [
        ((mine - theirs).double().norm() / theirs.double().norm()).item()
        for mine, theirs in zip(*results, strict=True)
    ]


@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
def test_equals_the_definition(draw, dtype):
    """In every dtype of a base, N and M apart."""
    inputs, grad_out = draw(queries=17, keys=23, head_dim=16, dtype=dtype)
    assert max(errors(inputs, grad_out)) < ROUNDING[dtype]


@pytest.mark.parametrize("heads", [1, 10])
def test_any_number_of_heads_and_a_scale(draw, heads):
    inputs, grad_out = draw(heads=heads, queries=9, keys=7, head_dim=8)
    assert max(errors(inputs, grad_out, scale=0.5)) < 1e-12


@pytest.mark.parametrize("shape", [(63, 77), (77,), (2, 1, 1, 77), (1, 4, 63, 77), (2, 4, 63, 1), ()])
@pytest.mark.parametrize("additive", [False, True])
def test_masks(draw, shape, additive):
    """Every shape of a mask, both kinds, rows that may attend to nothing among them."""
    inputs, grad_out = draw()
    generator = torch.Generator().manual_seed(3)
    mask = torch.rand(shape, generator=generator) > 0.4 if shape else torch.tensor(True)
    if len(shape) > 1 and shape[-2] > 1:
        mask[..., 0, :] = False
    if additive:
        mask = torch.randn(shape, generator=generator).masked_fill(~mask, -torch.inf)
    assert max(errors(inputs, grad_out, attn_mask=mask)) < 1e-12


@pytest.mark.parametrize("frozen", [(0,), (1,), (2,), (3,), (0, 1, 2), (1, 2, 3)])
def test_only_the_gradients_asked_for(draw, frozen):
    """A frozen input does not disturb the others."""
    inputs, grad_out = draw(queries=9, keys=7, head_dim=8)
    for i in frozen:
        inputs[i].requires_grad_(False)
    assert max(errors(inputs, grad_out)) < 1e-12


class _Largest(TorchDispatchMode):
    """The largest tensor that any operator outside ours made."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, torch.Tensor):
                self.largest = max(self.largest, tensor.untyped_storage().nbytes())
        return out


def test_no_map_is_kept(draw):
    """At N = M = 1024 the maps take 16 MiB; the largest tensor of the backward is as large as the query."""
    inputs, grad_out = draw(batch=1, heads=4, queries=1024, keys=1024, head_dim=16, dtype=torch.float32)
    with _Largest() as watch:
        flash(*inputs).backward(grad_out)
    assert 0 < watch.largest <= inputs[0].nbytes


def test_no_double_backward(draw):
    """A second derivative raises: it would be silently wrong otherwise."""
    inputs, grad_out = draw(queries=9, keys=7, head_dim=4)
    (grad,) = torch.autograd.grad(flash(*inputs), inputs[0], grad_out, create_graph=True)
    with pytest.raises(RuntimeError):
        torch.autograd.grad(grad.sum(), inputs[1])


def test_compiles_whole(draw):
    """As one operator, forward and backward."""
    torch.compiler.reset()
    inputs, grad_out = draw(queries=9, keys=7, head_dim=8)
    compiled = torch.compile(flash, fullgraph=True, backend="aot_eager")
    got, expected = compiled(*inputs), reference(*inputs)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)
    for mine, theirs in zip(
        torch.autograd.grad(got, inputs, grad_out),
        torch.autograd.grad(expected, inputs, grad_out),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10)
    torch.compiler.reset()
