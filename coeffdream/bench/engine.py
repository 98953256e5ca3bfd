"""Where the cells of a study run: on this machine, in processes of their own."""

from __future__ import annotations

import os
from concurrent.futures import BrokenExecutor, Future
from pathlib import Path
from typing import Any, Protocol

from coeffdream.bench.worker import Perform, Worker
from coeffdream.errors import counted


class Engine(Protocol):
    """Hires workers, which have `Worker`'s `submit`. jobs: how many at once; lost: what that raises, or its future, when
    the worker died; where: in words."""

    jobs: int
    lost: tuple[type[Exception], ...]
    where: str

    def hire(self) -> Future[Any]:
        """A worker, as soon as there is room for it."""

    def dismiss(self, worker: Any) -> None:
        """Let a worker go, be it alive or not."""

    def stop(self, number: int) -> None:
        """Hand a signal on to the commands that are running; no other begins."""

    def close(self) -> None:
        """Let all of them go."""


class LocalEngine:
    """Processes of this machine, each with its share of the cores; where there are several cards, each sees one."""

    lost: tuple[type[Exception], ...] = (BrokenExecutor,)

    def __init__(
        self, perform: Perform, jobs: int, device: str, shared: Path, store: str | None = None
    ) -> None:
        self.jobs, self._perform, self._shared, self._store = jobs, perform, shared, store
        self._cards = cards(device)
        self._hired: dict[Worker, str] = {}
        spread = f", over {len(self._cards)} cards" if len(self._cards) > 1 else ""
        self.where = f"{counted(jobs, 'cell')} at a time on this machine{spread}"

    def hire(self) -> Future[Worker]:
        # More threads than cores wait for one another.
        threads = max(1, (os.cpu_count() or 1) // self.jobs) if self.jobs > 1 else None
        card = min(self._cards, key=list(self._hired.values()).count, default="")
        sees = {"CUDA_VISIBLE_DEVICES": card} if len(self._cards) > 1 else {}
        worker = Worker(self._perform, self._shared, threads, sees, self._store)
        self._hired[worker] = card
        up: Future[Worker] = Future()
        up.set_result(worker)
        return up

    def dismiss(self, worker: Worker) -> None:
        del self._hired[worker]
        worker.close()

    def stop(self, number: int) -> None:
        for worker in self._hired:
            worker.stop(number)

    def close(self) -> None:
        for worker in list(self._hired):
            self.dismiss(worker)


def cards(device: str) -> list[str]:
    """What the CUDA cards are called over which a study on `device` spreads; one that names a card keeps to it."""
    import torch

    if device not in ("auto", "cuda"):
        return []
    visible = [each.strip() for each in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if each.strip()]
    return visible or [str(number) for number in range(torch.cuda.device_count())]
