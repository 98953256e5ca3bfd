"""Checkpointing that keeps mixed attention: the gradients of no checkpointing, and one computation of each attention."""

from __future__ import annotations

import functools
import threading

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from coeffdream.attention import chunked, mixed_attention
from coeffdream.attention.checkpointing import checkpoint_keeping_attention
from coeffdream.attention.kept import passes, taken

plain = functools.partial(checkpoint, use_reentrant=False)


@pytest.fixture
def computed(monkeypatch):
    """One entry for every time that the maps of a forward are made."""
    calls = []
    original = chunked.forward

    def forward(*inputs):
        calls.append(threading.get_ident())
        return original(*inputs)

    monkeypatch.setattr(chunked, "forward", forward)
    return calls


def block(query, key, value, mixing):
    """Two attentions one after the other, with something to recompute around them."""
    once = mixed_attention(2 * query, key, value, mixing, backend="chunked").tanh()
    return mixed_attention(once, key.sin(), value, mixing, backend="chunked") * query.exp()


@pytest.mark.parametrize(
    ("checkpointed", "times"), [(lambda f, *x: f(*x), 2), (plain, 4), (checkpoint_keeping_attention, 2)]
)
def test_attention_is_computed_once_and_the_gradients_are_the_same(draw, computed, checkpointed, times):
    """To the last bit: what is kept is what was computed."""
    inputs, grad_out = draw(queries=9, keys=9, head_dim=4)
    expected = torch.autograd.grad(block(*inputs), inputs, grad_out)
    computed.clear()
    out = checkpointed(block, *inputs)
    grads = torch.autograd.grad(out, inputs, grad_out)
    assert len(computed) == times
    assert torch.equal(out, block(*inputs))
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(grads, expected, strict=True))


def test_a_compiler_is_told_to_keep_the_operators_output(draw, computed, monkeypatch):
    """By torch's own means, which count there: each attention is computed once, and the gradients are the same."""
    inputs, grad_out = draw(queries=9, keys=9, head_dim=4)
    expected = torch.autograd.grad(block(*inputs), inputs, grad_out)
    computed.clear()
    with monkeypatch.context() as patched:
        patched.setattr(torch.compiler, "is_compiling", lambda: True)
        out = checkpoint_keeping_attention(block, *inputs)
        grads = torch.autograd.grad(out, inputs, grad_out)
    assert len(computed) == 2
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(grads, expected, strict=True))


def test_blocks_do_not_take_what_others_kept(draw, computed):
    """Two checkpointed blocks in a row; the backward meets them in reverse."""
    inputs, grad_out = draw(queries=9, keys=9, head_dim=4)

    def both(call):
        query, *rest = inputs
        first = call(block, query, *rest)
        return torch.autograd.grad(call(block, first, *rest), inputs, grad_out)

    expected = both(lambda f, *x: f(*x))
    got = both(checkpoint_keeping_attention)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(got, expected, strict=True))


def test_a_second_backward_recomputes_all(draw, computed):
    """What was kept is given once; a retained graph is right a second time too."""
    inputs, grad_out = draw(queries=9, keys=9, head_dim=4)
    out = checkpoint_keeping_attention(block, *inputs)
    first = torch.autograd.grad(out, inputs, grad_out, retain_graph=True)
    second = torch.autograd.grad(out, inputs, grad_out)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(first, second, strict=True))


def test_what_a_recomputation_did_not_want_is_not_given_to_the_next():
    """It may end early; then what is left belongs to no place in the block any more."""
    query = torch.zeros(1)
    keeping, recalling = passes()
    with keeping:
        for number in (1.0, 2.0):
            taken(query, lambda number=number: (query + number, query))
    with recalling:
        assert taken(query, lambda: (query - 1, query))[0] == 1
    with recalling:
        assert taken(query, lambda: (query - 1, query))[0] == -1


def test_a_failing_block_leaves_no_trace(draw, computed):
    """Out of memory in a block that is caught and tried again: the next call computes for itself."""
    inputs, _ = draw(queries=9, keys=9, head_dim=4)

    def failing(*tensors):
        block(*tensors)
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        checkpoint_keeping_attention(failing, *inputs)
    computed.clear()
    block(*inputs)
    assert len(computed) == 2


def test_each_thread_has_its_own(draw, computed):
    """Two trainings in one process."""
    inputs, grad_out = draw(queries=9, keys=9, head_dim=4)
    expected = torch.autograd.grad(block(*inputs), inputs, grad_out)
    results = {}

    def work(name):
        for _ in range(5):
            results[name] = torch.autograd.grad(
                checkpoint_keeping_attention(block, *inputs), inputs, grad_out
            )

    threads = [threading.Thread(target=work, args=(name,)) for name in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for grads in results.values():
        assert all(torch.equal(mine, theirs) for mine, theirs in zip(grads, expected, strict=True))
    assert len(results) == 3


def test_shapes_without_values_keep_too():
    """The forecast of memory must see what is kept between the passes."""
    query, key, value = (torch.empty(1, 4, 8, 4, device="meta", requires_grad=True) for _ in range(3))
    mixing = torch.empty(4, 4, device="meta", requires_grad=True)
    keeping, recalling = passes()
    with keeping:
        first = mixed_attention(query, key, value, mixing, backend="chunked")
    assert [out.shape for out, _ in keeping.results] == [first.shape]
    with recalling:
        mixed_attention(query, key, value, mixing, backend="chunked")
    assert not keeping.results
