"""Work that halves its batches goes on where it was, and gives up only when one item is too much."""

from __future__ import annotations

import pytest
import torch

from coeffdream.backbones.halving import halving


def doubled(fits: int, error=torch.OutOfMemoryError):
    """A task whose batches fit up to a size; what it was given."""
    asked: list[list[int]] = []

    def work(batch):
        asked.append(list(batch))
        if len(batch) > fits:
            raise error("CUDA out of memory")
        return [2 * item for item in batch]

    return work, asked


def test_every_item_once_and_in_order():
    """Also those of the batch that failed; the smaller size stays in force."""
    work, asked = doubled(3)
    heard: list[int] = []
    made = [(list(batch), result) for batch, result in halving(range(11), 8, work, heard.append)]
    assert [item for batch, _ in made for item in batch] == list(range(11))
    assert all(result == [2 * item for item in batch] for batch, result in made)
    assert heard == [4, 2]
    assert [len(batch) for batch in asked] == [8, 4, 2, 2, 2, 2, 2, 1]


def test_nothing_is_halved_that_fits():
    """Batches are as they were asked for."""
    work, asked = doubled(8)
    assert [result for _, result in halving([1, 2, 3], 2, work, pytest.fail)] == [[2, 4], [6]]
    assert asked == [[1, 2], [3]]


def test_one_that_does_not_fit_alone():
    """There is nothing left to halve."""
    work, asked = doubled(0)
    with pytest.raises(torch.OutOfMemoryError):
        list(halving([1, 2], 2, work, lambda size: None))
    assert asked == [[1, 2], [1]]


def test_other_errors_are_not_retried():
    """A mistake does not go away by being made on fewer pictures."""
    work, asked = doubled(1, ValueError)
    with pytest.raises(ValueError, match="out of memory"):
        list(halving([1, 2], 2, work, lambda size: None))
    assert len(asked) == 1
