"""What a message repeats of what came in is bounded, whatever came in."""

from __future__ import annotations

import pytest
import torch

from coeffdream.errors import MOST_QUOTED, listed, out_of_memory, quoted, together


@pytest.mark.parametrize(
    "value",
    [
        "x" * 10**6,
        "\x1b" * 10**5,
        ["x" * 10**6] * 10**4,
        {"a": {"b": ["c" * 999] * 999}},
        10**6000,
        -(10**99),
    ],
    ids=["text", "escapes", "list", "nested", "digits no int may have", "long number"],
)
def test_at_most_eighty_characters_are_quoted(value):
    """A megabyte on the command line or in a record does not become a megabyte on the terminal."""
    assert len(quoted(value)) <= MOST_QUOTED + 2


def test_short_values_are_quoted_whole():
    """As repr writes them, control characters and halves of surrogate pairs escaped."""
    assert quoted("a cat") == "'a cat'"
    assert quoted("\x1b]0;\udce9") == r"'\x1b]0;\udce9'"
    assert quoted(0.5) == "0.5"


def test_ten_of_many_problems():
    """And a count of the others; one problem stays one line."""
    many = together("bad", [f"line {number}" for number in range(5000)])
    assert many.splitlines()[0] == "bad: 5,000 problems"
    assert many.splitlines()[-1] == "  - and 4,990 more"
    assert len(many.splitlines()) == 12
    assert together("bad", ["one"]) == "bad: one"
    assert listed([str(number) for number in range(12)]) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more"
    assert listed(["one", "two"]) == "one, two"


def test_what_running_out_of_memory_looks_like():
    """On a card a class of torch's own, on the CPU the allocator's sentence; other errors are none of it."""
    assert out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert out_of_memory(MemoryError())
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert out_of_memory(caught.value)
    assert not out_of_memory(RuntimeError("shapes do not match"))
    assert not out_of_memory(ValueError("not enough memory"))
