from __future__ import annotations

import functools
import shutil

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend
from torch.utils._python_dispatch import TorchDispatchMode

from coeffdream.attention import mixed_attention
from coeffdream.attention.operator import OPERATOR, backward, forward

chunked = functools.partial(mixed_attention, backend="chunked")
reference = functools.partial(mixed_attention, backend="reference")

NEEDS_GXX = pytest.mark.skipif(
    shutil.which("g++") is None, reason="torch's default compiler needs g++ on a CPU"
)


def _assert_same(inputs, grad_out, atol=1e-10, **options):
    wanted = [t for t in inputs if t.requires_grad]
    got, expected = chunked(*inputs, **options), reference(*inputs, **options)
    torch.testing.assert_close(got, expected, rtol=0, atol=atol)
    for mine, theirs in zip(
        torch.autograd.grad(got, wanted, grad_out),
        torch.autograd.grad(expected, wanted, grad_out),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=atol)


@pytest.mark.parametrize("heads", [1, 4, 5, 10, 20])
@pytest.mark.parametrize(("queries", "keys"), [(1, 111), (63, 1), (77, 63), (111, 77)])
def test_equals_the_definition_on_ragged_chunks(draw, rows_of, poisoned, heads, queries, keys):
    """N != M, sizes that no chunk divides, one row, one key: every element is written and right."""
    inputs, grad_out = draw(heads=heads, queries=queries, keys=keys, head_dim=32)
    rows_of(13, heads, keys)
    _assert_same(inputs, grad_out)


def test_a_row_bigger_than_the_chunk_still_runs(draw, rows_of):
    """The chunk never becomes empty, however long one row of maps is."""
    inputs, grad_out = draw(queries=5, keys=77)
    rows_of(0, 4, 77)
    _assert_same(inputs, grad_out)


@pytest.mark.parametrize("shape", [(63, 77), (77,), (2, 1, 1, 77), (1, 4, 63, 77), (2, 4, 63, 1), ()])
@pytest.mark.parametrize("additive", [False, True])
def test_masks_broadcast_over_batch_heads_and_queries(draw, rows_of, poisoned, shape, additive):
    """Every mask shape of scaled_dot_product_attention, both kinds, fully masked rows among them."""
    inputs, grad_out = draw()
    rows_of(10, 4, 77)
    generator = torch.Generator().manual_seed(3)
    mask = torch.rand(shape, generator=generator) > 0.4
    if additive:
        mask = torch.randn(shape, generator=generator).masked_fill(~mask, -torch.inf)
    _assert_same(inputs, grad_out, attn_mask=mask)


def test_rows_that_may_attend_to_nothing_are_zero(draw):
    """As in scaled_dot_product_attention: zeros, and no NaN in any gradient."""
    inputs, grad_out = draw()
    mask = torch.ones(63, 77, dtype=torch.bool)
    mask[[0, 7, 62]] = False
    out = chunked(*inputs, attn_mask=mask)
    assert not out[:, :, [0, 7, 62]].any()
    assert all(g.isfinite().all() for g in torch.autograd.grad(out, inputs, grad_out))


def test_large_logits_do_not_overflow(draw):
    """The maximum is taken out before exp: logits past even float64's exp are served too."""
    (query, key, value, mixing), grad_out = draw()
    assert (query @ key.mT).max() * 1e3 > 710
    _assert_same((query, key, value, mixing), grad_out, scale=1e3, atol=1e-7)


def test_non_contiguous_inputs(draw, rows_of):
    """Heads split by a view, as every attention layer does, and a gradient that is an expanded scalar."""
    (query, key, value, mixing), _ = draw()
    rows_of(10, 4, 77)
    query, key, value = (t.detach().mT.contiguous().mT.requires_grad_() for t in (query, key, value))
    mixing = mixing.detach().T.requires_grad_()
    assert not query.is_contiguous()
    _assert_same((query, key, value, mixing), torch.ones((), dtype=query.dtype).expand(query.shape))


@pytest.mark.parametrize(
    "frozen", [(0,), (1,), (2,), (3,), (0, 1), (0, 1, 3), (0, 1, 2), (0, 2, 3), (1, 2, 3)]
)
def test_only_the_gradients_asked_for(draw, rows_of, frozen):
    """A frozen input costs no gradient and does not disturb the others."""
    inputs, grad_out = draw()
    rows_of(10, 4, 77)
    for i in frozen:
        inputs[i].requires_grad_(False)
    _assert_same(inputs, grad_out)
    needed = [t.requires_grad for t in inputs]
    lse = forward(*inputs, None, None, "chunked", False)[1]
    grads = backward(grad_out, lse, *(t.detach() for t in inputs), None, None, "chunked", False, needed)
    assert [g.numel() > 0 for g in grads] == needed


@pytest.mark.parametrize("masked", [False, True])
def test_gradcheck(draw, rows_of, masked):
    """The derived backward is the derivative of the forward."""
    inputs, _ = draw(batch=1, heads=3, queries=5, keys=4, head_dim=3)
    rows_of(2, 3, 4)
    mask = torch.tensor([[True, False, True, True]] * 5).triu(-2) if masked else None
    assert torch.autograd.gradcheck(lambda *t: chunked(*t, attn_mask=mask), inputs)


# opcheck itself reads .grad of tensors that have none.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize("masked", [False, True])
def test_operators_keep_torchs_rules(draw, masked):
    """Schema, fake tensors, autograd registration and AOT dispatch of both operators."""
    inputs, grad_out = draw(queries=9, keys=7, head_dim=4)
    mask = torch.ones(9, 7, dtype=torch.bool) if masked else None
    torch.library.opcheck(forward, (*inputs, mask, None, "chunked", True))
    lse = forward(*inputs, mask, 0.5, "chunked", False)[1]
    saved = [t.detach() for t in inputs]
    torch.library.opcheck(
        backward, (grad_out, lse, *saved, mask, 0.5, "chunked", True, [True, False, True, True])
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_fake_tensor_has_the_dtypes_of_a_real_one(draw, dtype):
    """The log-sum-exp is float32 beside halves; a compiler plans its memory by what the fake one says."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    inputs, _ = draw(queries=9, keys=7, head_dim=4)
    real = [each.detach().to(dtype) for each in inputs]
    with FakeTensorMode() as mode:
        fake = forward(*map(mode.from_tensor, real), None, None, "chunked", False)
    found = forward(*real, None, None, "chunked", False)
    assert [(each.dtype, each.shape) for each in fake] == [(each.dtype, each.shape) for each in found]


def test_there_is_no_double_backward(draw):
    """A second derivative raises: it would be silently wrong otherwise."""
    inputs, grad_out = draw(queries=9, keys=7, head_dim=4)
    (grad,) = torch.autograd.grad(chunked(*inputs), inputs[0], grad_out, create_graph=True)
    with pytest.raises(RuntimeError):
        torch.autograd.grad(grad.sum(), inputs[1])


@pytest.mark.parametrize(
    ("backend", "compiler"),
    [
        ("auto", "aot_eager"),
        ("chunked", "aot_eager"),
        ("reference", "aot_eager"),
        pytest.param("auto", "inductor", marks=NEEDS_GXX),
        pytest.param("reference", "inductor", marks=NEEDS_GXX),
    ],
)
def test_compiles_whole_and_once_for_all_lengths(draw, backend, compiler):
    """torch.compile(fullgraph=True, dynamic=True): no graph break, no second compilation for another N."""
    torch.compiler.reset()
    counter = CompileCounterWithBackend(compiler)
    compiled = torch.compile(
        functools.partial(mixed_attention, backend=backend), fullgraph=True, dynamic=True, backend=counter
    )
    for length in (33, 63, 111):
        inputs, grad_out = draw(queries=length, keys=length + 3, head_dim=8)
        got, expected = compiled(*inputs), reference(*inputs)
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)
        for mine, theirs in zip(
            torch.autograd.grad(got, inputs, grad_out),
            torch.autograd.grad(expected, inputs, grad_out),
            strict=True,
        ):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10)
    assert counter.frame_count == 1
    torch.compiler.reset()


class _Watch(TorchDispatchMode):
    """Counts our operator and records the largest tensor made, inside the operators too."""

    def __init__(self):
        super().__init__()
        self.largest = 0
        self.forwards = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        inner = {OPERATOR: forward, torch.ops.coeffdream.mixed_attention_backward.default: backward}
        self.forwards += func is OPERATOR
        if func in inner:
            with self:
                return inner[func]._init_fn(*args, **(kwargs or {}))
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, torch.Tensor):
                # Views of an expanded mask count what they hold, not what they show.
                self.largest = max(self.largest, tensor.untyped_storage().nbytes())
        return out


@pytest.mark.parametrize(("backend", "whole_maps"), [("reference", True), ("chunked", False)])
def test_no_tensor_grows_with_n_squared(draw, backend, whole_maps):
    """At N = M = 2048 the maps take 64 MiB; forward and backward of chunked never make more than 4 MiB."""
    inputs, grad_out = draw(batch=1, heads=4, queries=2048, keys=2048, head_dim=16, dtype=torch.float32)
    mask = torch.ones(2048, dtype=torch.bool)
    with _Watch() as watch:
        mixed_attention(*inputs, attn_mask=mask, backend=backend).backward(grad_out)
    assert watch.forwards == (not whole_maps)
    maps = 4 * 2048 * 2048 * 4
    assert watch.largest == maps if whole_maps else watch.largest <= 4 << 20


@pytest.mark.parametrize(("heads", "queries", "keys"), [(10, 4097, 77), (2, 65, 4097), (1, 4097, 111)])
@pytest.mark.parametrize("head_dim", [32, 64, 80, 128])
def test_long_and_ragged(draw, poisoned, heads, queries, keys, head_dim):
    """One more than SDXL's 4,096 positions leaves a last chunk of one row, at every head dim that is used."""
    _assert_same(*draw(batch=1, heads=heads, queries=queries, keys=keys, head_dim=head_dim))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_on_cuda_uses_tensor_cores_within_their_error(draw, dtype):
    """On CUDA maps are rounded to the inputs' dtype as operands: within 4 units of its last place in norm."""
    inputs, grad_out = draw(heads=10, queries=300, keys=77, head_dim=64, dtype=dtype)
    exact = [t.detach().double().requires_grad_() for t in inputs]
    expected = reference(*exact)
    theirs = (expected, *torch.autograd.grad(expected, exact, grad_out.double()))
    inputs = [t.detach().cuda().requires_grad_() for t in inputs]
    got = chunked(*inputs)
    mine = (got, *torch.autograd.grad(got, inputs, grad_out.cuda()))
    for m, t in zip(mine, theirs, strict=True):
        assert (m.cpu().double() - t).norm() <= 4 * torch.finfo(dtype).eps * t.norm()
