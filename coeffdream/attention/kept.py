"""What checkpointing keeps of mixed attention, so that a recomputed block does not compute it again."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from types import TracebackType

from torch import Tensor

Result = tuple[Tensor, Tensor]


class _Active(threading.local):
    """The pass that this thread is in: autograd recomputes on threads of its own."""

    passing: _Pass | None = None


_active = _Active()


class _Pass(ABC):
    """In force in the block that is entered with it, in this thread."""

    def __init__(self, results: deque[Result]) -> None:
        self.results = results
        self._outer: _Pass | None = None

    @abstractmethod
    def take(self, compute: Callable[[], Result]) -> Result:
        """What the block asks for: compute(), or what was kept of it."""

    def __enter__(self) -> None:
        self._outer, _active.passing = _active.passing, self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _active.passing = self._outer


class Keeping(_Pass):
    """The first pass of a block: every result of mixed attention is kept."""

    def take(self, compute: Callable[[], Result]) -> Result:
        out, lse = compute()
        # Copies: compiled code writes over buffers that it needs no longer. Without values there is nothing to lose.
        self.results.append((out, lse) if out.is_meta else (out.clone(), lse.clone()))
        return out, lse


class Recalling(_Pass):
    """The second pass of the same block, which asks for the same results in the same order."""

    def take(self, compute: Callable[[], Result]) -> Result:
        return self.results.popleft() if self.results else compute()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        # A recomputation ends as soon as it has what is needed. What is left would be wrong for a further one.
        self.results.clear()


def passes() -> tuple[Keeping, Recalling]:
    """Contexts of the first pass of one block and of its recomputation."""
    results: deque[Result] = deque()
    return Keeping(results), Recalling(results)


def taken(query: Tensor, compute: Callable[[], Result]) -> Result:
    """compute(), or what was kept of it. Traced tensors are nothing to keep."""
    passing = _active.passing
    return compute() if passing is None or type(query) is not Tensor else passing.take(compute)
