"""Batches that become smaller when the memory does not suffice, instead of ending the work."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from coeffdream.errors import out_of_memory

Item = TypeVar("Item")
Result = TypeVar("Result")


def halving(
    items: Sequence[Item],
    at_once: int,
    work: Callable[[Sequence[Item]], Result],
    smaller: Callable[[int], None],
) -> Iterator[tuple[Sequence[Item], Result]]:
    """`work` on `items` in order, `at_once` at a time; each batch with what came of it.

    A batch that does not fit is halved and tried again, and so are those after it; `smaller` hears of the new
    size. What does not fit alone raises what it raised.
    """
    first = 0
    while first < len(items):
        batch = items[first : first + at_once]
        try:
            result = work(batch)
        except (RuntimeError, MemoryError) as error:
            if len(batch) == 1 or not out_of_memory(error):
                raise
            at_once = (len(batch) + 1) // 2
        else:
            first += len(batch)
            yield batch, result
            continue
        # Outside the handler: its traceback keeps the tensors of the failed attempt alive.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        smaller(at_once)
