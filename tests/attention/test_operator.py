"""Compiled code asks for a backend when it runs: what was measured on this machine, if the operator has it."""

from __future__ import annotations

import pytest
import torch

from coeffdream.attention import operator
from coeffdream.attention.errors import AttentionError


@pytest.fixture
def chosen(monkeypatch):
    def choose(name: str) -> None:
        monkeypatch.setattr(operator._Choice, "of", staticmethod(lambda query, key, attn_mask: name))

    return choose


@pytest.mark.parametrize("name", ["reference", "chunked", "flash"])
def test_what_compiled_code_cannot_take_is_chunked(name, chosen, draw):
    """Forward and backward agree on who serves a call, whatever the choice says."""
    chosen(name)
    inputs, grad_out = draw(queries=9, keys=7, head_dim=4)
    results = []
    for backend in (operator.LATER, "chunked"):
        out = operator.apply(*inputs, None, None, backend)
        results.append([out, *torch.autograd.grad(out, inputs, grad_out)])
    torch.testing.assert_close(*results, rtol=0, atol=0)


def test_what_was_measured_the_fastest_is_taken(chosen, draw):
    """On a CPU the kernels refuse, which shows that they were asked."""
    chosen("triton")
    inputs, _ = draw(queries=9, keys=7, head_dim=4)
    with pytest.raises(AttentionError, match="'triton'"):
        operator.apply(*inputs, None, None, operator.LATER)
