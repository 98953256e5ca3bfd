"""Only algorithms with an order of their own while a card trains, and nothing of it afterwards."""

from __future__ import annotations

import contextlib

import pytest
import torch

from coeffdream.errors import ConfigError
from coeffdream.training.deterministic import deterministic


def state() -> tuple[bool, bool, bool]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,
    )


@pytest.fixture(params=[(False, False), (True, True)], ids=["off", "warning"])
def as_it_was(request):
    """What the caller's process has set."""
    before = state()
    torch.use_deterministic_algorithms(request.param[0], warn_only=request.param[1])
    yield state()
    torch.use_deterministic_algorithms(before[0], warn_only=before[1])


@pytest.mark.parametrize("ended", [None, KeyboardInterrupt, RuntimeError])
def test_the_callers_setting_comes_back(as_it_was, ended):
    """However the block ends; an error that is about something else stays itself."""
    with (
        pytest.raises(ended, match="out of something") if ended else contextlib.nullcontext(),
        deterministic(True),
    ):
        assert state() == (True, False, False)
        if ended:
            raise ended("out of something")
    assert state() == as_it_was


def test_not_wanted_is_not_touched(as_it_was):
    """A CPU needs none of it."""
    with deterministic(False):
        assert state() == as_it_was


def test_an_operation_without_such_an_algorithm_says_what_to_do():
    """torch's own message is a page about environment variables."""
    message = "put_ does not have a deterministic implementation, but you set 'torch.use_dete...'"
    with pytest.raises(ConfigError, match=r"^put_ does not .*; --no-deterministic"), deterministic(True):
        raise RuntimeError(message)


@pytest.mark.gpu
def test_equal_backward_passes_of_plain_attention_are_equal_bits():
    """cuDNN's and flash attention's backward add in an order of their own otherwise."""
    inputs = [torch.randn(1, 10, 4096, 64, device="cuda", dtype=torch.bfloat16) for _ in range(4)]
    *given, weights = inputs
    given = [tensor.requires_grad_() for tensor in given]
    found = []
    with deterministic(True):
        for _ in range(3):
            out = torch.nn.functional.scaled_dot_product_attention(*given)
            found.append(torch.autograd.grad(out, given, weights))
    for again in found[1:]:
        assert all(torch.equal(one, other) for one, other in zip(found[0], again, strict=True))
