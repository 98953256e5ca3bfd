"""Which command of which cell runs next, on whichever worker is free.

A cell is a chain of commands: train, draw, score. Cells are begun in the plan's order, and one that was begun goes on
before another begins, with the worker that was at it if that is free: its machine has the cell's files. Of the cells of
one concept a single one draws what the untouched base draws; the others wait for it, and take it over.
"""

from __future__ import annotations

import bisect
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from typing import Any

from coeffdream.bench.engine import Engine
from coeffdream.errors import RunError
from coeffdream.records.claim import is_free
from coeffdream.records.study import StudyFolder
from coeffdream.records.study_plan import Cell
from coeffdream.stopping import status_of

LOOK_EVERY = 1.0  # seconds between two looks at the logs of the running cells
STRAGGLERS = 60.0  # seconds that a command whose study or worker was killed may take to save its state
LOSSES = 3  # workers that a cell may lose before it is taken for the reason itself
OF_THE_BASE = ("--no-adapter", "--unrelated")  # what draws with the untouched base


@dataclass(eq=False)
class Chain:
    """A cell on its way, with the commands that are still to be run."""

    cell: Cell
    place: int  # among the cells of the plan
    left_alone_until: float | None  # a command of before may still be at work in its run; None: none is
    commands: list[list[str]] = field(default_factory=list)
    of: int = 0  # how many commands there were
    losses: int = 0
    began: float = 0.0  # its command, time.time()
    worker: Any = None  # that ran its last command

    @property
    def number(self) -> int:
        """The place of its command among all of them."""
        return self.of - len(self.commands) + 1

    @property
    def of_the_base(self) -> tuple[str, str] | None:
        """Which of the untouched base's pictures its next command draws."""
        drawn = next((flag for flag in OF_THE_BASE if flag in self.commands[0]), None)
        return (self.cell.concept, drawn) if drawn else None


@dataclass
class Dispatch:
    """Sees every cell to its end, or to its failure. prepare: the commands that a cell still needs; raises RunError.

    Heard of is every command that ended, with its status (None: its worker was lost), and every cell, with what went
    wrong. `running`: the chains that a worker is at.
    """

    folder: StudyFolder
    cells: Sequence[Cell]
    engine: Engine
    prepare: Callable[[Cell], list[list[str]]]
    command_ended: Callable[[Chain, int | None], None]
    cell_ended: Callable[[Cell, str | None], None]
    look: Callable[[list[Chain]], None]
    _waiting: list[Chain] = field(default_factory=list)
    _running: dict[Future[int], tuple[Any, Chain]] = field(default_factory=dict)
    _coming: set[Future[Any]] = field(default_factory=set)
    _idle: list[Any] = field(default_factory=list)
    _in_vain: int = 0  # workers in a row that did not come up
    _drawn: set[tuple[str, str] | None] = field(default_factory=lambda: {None})  # of the untouched base

    def run(self) -> None:
        """On Ctrl-C, or another request to stop, the running commands save their state and no other begins."""
        until = time.monotonic() + STRAGGLERS
        self._waiting = [Chain(cell, place, until) for place, cell in enumerate(self.cells)]
        try:
            for _ in range(min(self.engine.jobs, len(self._waiting))):
                self._coming.add(self.engine.hire())
            while self._waiting or self._running:
                while self._idle and (chain := self._next()):
                    self._begin(chain)
                self.look([chain for _, chain in self._running.values()])
                awaited = [*self._running, *self._coming]
                if not awaited:  # what is left is still held by commands of before
                    time.sleep(LOOK_EVERY / 10)
                for each in wait(awaited, LOOK_EVERY, FIRST_COMPLETED).done if awaited else ():
                    if each in self._coming:
                        self._welcome(each)
                    else:
                        self._take(each)
            self.look([])
        except KeyboardInterrupt as asked:
            self.engine.stop(status_of(asked) - 128)
            wait(self._running)
            raise
        finally:
            self.engine.close()

    def _welcome(self, up: Future[Any]) -> None:
        """Raises RunError when none came up for a while."""
        self._coming.remove(up)
        try:
            self._idle.append(up.result())
            self._in_vain = 0
        except self.engine.lost as error:
            self._in_vain += 1
            if self._in_vain > LOSSES:
                why = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
                raise RunError(
                    f"{self._in_vain} workers in a row did not come up ({why[:200]}); is this coeffdream installed on every "
                    "machine of the cluster?"
                ) from None
            self._coming.add(self.engine.hire())

    def _next(self) -> Chain | None:
        """The first in the plan's order that may go on; before it one that an idle worker was at."""
        drawing = {chain.of_the_base for _, chain in self._running.values()} - self._drawn
        known = [
            each for each in self._waiting if each.worker in self._idle and each.left_alone_until is None
        ]
        for chain in [*known, *self._waiting]:
            if chain.left_alone_until is not None and not self._ready(chain):
                continue
            if chain.of_the_base not in drawing:
                return chain
        return None

    def _ready(self, chain: Chain) -> bool:
        """Whether the run is left alone by now, and its commands are known."""
        assert chain.left_alone_until is not None
        if time.monotonic() < chain.left_alone_until and not is_free(self.folder.run(chain.cell).path):
            return False
        chain.left_alone_until = None
        try:
            chain.commands = self.prepare(chain.cell)
        except RunError as error:
            self._waiting.remove(chain)
            self.cell_ended(chain.cell, str(error))
            return False
        chain.of = len(chain.commands)
        return True

    def _begin(self, chain: Chain) -> None:
        log = self.folder.log(chain.cell)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as stream:
            stream.write(f"$ coeffdream {' '.join(chain.commands[0])}\n")
        worker = chain.worker if chain.worker in self._idle else self._idle[-1]
        chain.began = time.time()
        try:
            running = worker.submit(chain.commands[0], log)
        except self.engine.lost as error:  # while it had nothing to do
            running = Future()
            running.set_exception(error)
        self._running[running] = worker, chain
        self._idle.remove(worker)
        chain.worker = worker
        self._waiting.remove(chain)

    def _take(self, ended: Future[int]) -> None:
        worker, chain = self._running.pop(ended)
        try:
            status = ended.result()
        except self.engine.lost as error:
            self._lost(worker, chain, error)
            return
        self.command_ended(chain, status)
        if status != 0:
            # Whatever it failed of may have spoiled the process for others.
            self._replace(worker)
            self._fail(chain, f"ended with {status}: {self._last_line(chain)}")
            return
        self._idle.append(worker)
        self._drawn.add(chain.of_the_base)
        chain.commands.pop(0)
        if chain.commands:
            bisect.insort(self._waiting, chain, key=lambda each: each.place)
        else:
            self.cell_ended(chain.cell, None)

    def _lost(self, worker: Any, chain: Chain, error: Exception) -> None:
        self.command_ended(chain, None)
        self._replace(worker)
        chain.losses += 1
        if chain.losses > LOSSES:
            self._fail(chain, f"lost its worker {chain.losses} times, at last by {type(error).__name__}")
            return
        chain.left_alone_until = time.monotonic() + STRAGGLERS
        bisect.insort(self._waiting, chain, key=lambda each: each.place)

    def _replace(self, worker: Any) -> None:
        self.engine.dismiss(worker)
        self._coming.add(self.engine.hire())

    def _fail(self, chain: Chain, how: str) -> None:
        log = self.folder.log(chain.cell)
        self.cell_ended(chain.cell, f"coeffdream {chain.commands[0][0]} {how} (see {log})")

    def _last_line(self, chain: Chain) -> str:
        lines = self.folder.log(chain.cell).read_text(encoding="utf-8", errors="replace").splitlines()
        return lines[-1] if lines else ""
