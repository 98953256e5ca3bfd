"""The processes of one run, a card each, as `accelerate launch` or torchrun starts them.

What is drawn at random follows from a sample's place in the run, so that the processes need only agree on who takes
which place, and add up what came of it. The first process writes; the others help.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from coeffdream.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

Item = TypeVar("Item")


@dataclass(frozen=True)
class Processes:
    """This process among the `count` of its run. local: its place on its machine, which is that of its card."""

    index: int = 0
    count: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """Whether it is the one that writes."""
        return self.index == 0

    def share(self, places: int) -> range:
        """Its own of the places of a batch. Raises ConfigError when they cannot be shared evenly."""
        if places % self.count:
            raise ConfigError(
                f"--batch-size {places} cannot be shared by {self.count} processes; give a multiple of {self.count} (it is "
                "the batch of all processes together)"
            )
        own = places // self.count
        return range(self.index * own, (self.index + 1) * own)


def processes() -> Processes:
    """As the launcher says in the environment."""
    told = [os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")]
    return Processes(*map(int, told)) if all(each.isdigit() for each in told) else Processes()


def _state() -> Any:
    """Accelerate's, connected to the others: over NCCL where there are cards, else over gloo."""
    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available())


def first_one_first() -> AbstractContextManager[None]:
    """What the first process makes in the block is there when the others come to it."""
    return nullcontext() if processes().count == 1 else _state().main_process_first()


def add_up(tensors: Iterable[Tensor]) -> None:
    """Make of each tensor the sum over all processes, in place."""
    if processes().count == 1:
        return
    import torch

    each = list(tensors)
    flat = torch.cat([tensor.flatten() for tensor in each])
    _state()
    torch.distributed.all_reduce(flat)
    for tensor, summed in zip(each, flat.split([tensor.numel() for tensor in each]), strict=True):
        tensor.copy_(summed.view_as(tensor))


def gathered(tensor: Tensor) -> list[Tensor]:
    """The tensors of all processes, of one shape, in their order; on the CPU."""
    if processes().count == 1:
        return [tensor.cpu()]
    import torch

    own = tensor.contiguous().to(_state().device)
    each = [torch.empty_like(own) for _ in range(processes().count)]
    torch.distributed.all_gather(each, own)
    return [one.cpu() for one in each]


def of_the_first(tensor: Tensor) -> Tensor:
    """The first process's tensor, for all; the others give one of its shape. On the CPU."""
    if processes().count == 1:
        return tensor.cpu()
    import torch

    told = tensor.contiguous().to(_state().device)
    torch.distributed.broadcast(told, 0)
    return told.cpu()


def any_of(asked: bool) -> bool:
    """Whether one of the processes was asked."""
    import torch

    return asked if processes().count == 1 else bool(torch.stack(gathered(torch.tensor([asked]))).any())


def in_turns(
    items: Sequence[Item],
    at_once: int,
    work: Callable[[Sequence[Item]], Tensor],
    shape: Sequence[int],
    dtype: Any,
) -> Iterator[tuple[Sequence[Item], Tensor]]:
    """The batches of `items` in their order, each worked on by one process, with what came of it: for all of them.

    work: a batch to [B, *shape] of `dtype`. The batches are those of a single process, so that what comes of them is.
    """
    import torch

    here = processes()
    batches = [items[start : start + at_once] for start in range(0, len(items), at_once)]
    for start in range(0, len(batches), here.count):
        turn = batches[start : start + here.count]
        mine = work(turn[here.index]) if here.index < len(turn) else None
        padded = torch.zeros(at_once, *shape, dtype=dtype)
        if mine is not None:
            padded[: len(mine)] = mine
        for batch, found in zip(turn, gathered(padded), strict=False):
            yield batch, found[: len(batch)]


def let_go() -> None:
    """Part from the other processes, if there are any."""
    if processes().count > 1:
        _state().destroy_process_group()
