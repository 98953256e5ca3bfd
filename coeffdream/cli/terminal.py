"""What a person sees: a progress bar on a terminal, plain lines in a pipe, results on standard output."""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from coeffdream.cli.encoding import printable

SECONDS_BETWEEN_LINES = 10.0
LEAST_SECONDS = 0.01


def say(text: str = "") -> None:
    """A line about what is going on, on standard error."""
    Console(stderr=True, highlight=False, soft_wrap=True, emoji=False).print(printable(text), markup=False)


def warn(text: str) -> None:
    Console(stderr=True, highlight=False, soft_wrap=True, emoji=False).print(
        f"warning: {printable(text)}", style="yellow", markup=False
    )


def say_file(what: str, file: Path, note: str = "") -> None:
    """What a file is, its path, and a note; on a terminal that knows links, a click opens it."""
    shown = Text(printable(near(file)), style=f"link {file.absolute().as_uri()}")
    Console(stderr=True, highlight=False, soft_wrap=True, emoji=False).print(
        Text.assemble(f"{printable(what)}: ", shown, note and f" ({note})")
    )


@contextlib.contextmanager
def doing(what: str) -> Iterator[None]:
    """Say what is being done: a line that goes again on a terminal, one that stays in a pipe."""
    console = Console(stderr=True, highlight=False, emoji=False)
    if not console.is_terminal:
        print(f"{printable(what)} ...", file=sys.stderr, flush=True)
        yield
        return
    with console.status(Text(f"{printable(what)} ...")):
        yield


@contextlib.contextmanager
def loading(*libraries: str) -> Iterator[None]:
    """Say which of these are imported while the block lasts, which takes seconds; silent where all of them are there."""
    absent = [name for name in libraries if name not in sys.modules]
    if not absent:
        yield
        return
    with doing(f"loading {' and '.join(absent)}"), _without_collecting():
        yield


@contextlib.contextmanager
def _without_collecting() -> Iterator[None]:
    """Libraries are millions of objects that stay. Python would go through all of them time and again, while they are
    being made, a fifth of the time that an import takes, and ever after.

    At the end of the process they are Python's again: Triton's bindings complain of what is left then.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        atexit.register(gc.unfreeze)
        if collecting:
            gc.enable()


def show(renderable: Any) -> None:
    """A result, on standard output."""
    Console(highlight=False).print(renderable)


def show_json(value: Any) -> None:
    utf8 = (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")
    print(json.dumps(value, indent=2, ensure_ascii=not utf8))


def near(path: Path) -> str:
    """A path as short as it can be said from here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


class ProgressDisplay:
    """Called as `display(stage, done, total, note)`; a context manager, so that the bar is always taken down."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._live = console.is_terminal
        self._bar = Progress(
            TextColumn("{task.description:<22}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            _RateColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", style="dim"),
            console=console,
            speed_estimate_period=3600,  # a training step, or a cell of a study, may take minutes
        )
        self._tasks: dict[str, TaskID] = {}
        self._reached: dict[str, tuple[int, int]] = {}  # how much, of how much
        self._started: dict[str, tuple[float, int]] = {}  # when, at how much
        self._last_line = 0.0

    def __enter__(self) -> ProgressDisplay:
        if self._live:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._bar.stop()

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        # A cell of a study went on to its next stage; or a second set is drawn, whose time is its own.
        before, of = self._reached.get(stage, (done, total))
        anew = total != of or done < before
        self._reached[stage] = done, total
        if self._live:
            self._show(stage, done, total, note, anew)
        elif total:
            self._line(stage, done, total, note, anew)

    def _show(self, stage: str, done: int, total: int, note: str, anew: bool) -> None:
        if total == 0:
            if stage in self._tasks:
                self._bar.remove_task(self._tasks.pop(stage))
            return
        if stage not in self._tasks:
            self._tasks[stage] = self._bar.add_task(stage, total=total, note=note)
        task = self._tasks[stage]
        if anew:
            self._bar.reset(task, total=total)
        self._bar.update(task, completed=done, note=note[:40])

    def _line(self, stage: str, done: int, total: int, note: str, anew: bool) -> None:
        now = time.monotonic()
        first = stage not in self._started
        if anew:
            self._started.pop(stage, None)
        started, before = self._started.setdefault(stage, (now, done))
        if not first and done < total and now - self._last_line < SECONDS_BETWEEN_LINES:
            return
        if first and done < total and total > 1:
            return
        self._last_line = now
        # What took no time, because it was there already, has no rate.
        rate = (done - before) / (now - started) if now - started > LEAST_SECONDS else 0.0
        left = f", {(total - done) / rate:.0f} s left" if rate > 0 and done < total else ""
        speed = f" ({rate:.2f}/s{left})" if rate > 0 and total > 1 else ""
        print(f"{stage} {done}/{total}{speed}{' ' + note if note else ''}", file=sys.stderr, flush=True)


def last_progress(log: Path) -> tuple[str, int, int] | None:
    """Stage, done, total of a log that ends with a line of a ProgressDisplay; None for one that does not."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - 1000))
            lines = stream.read().decode("utf-8", errors="replace").splitlines()
    except OSError:
        return None
    found = re.match(r"([^$].*?) (\d+)/(\d+)(?: |$)", lines[-1]) if lines else None
    return (found[1], int(found[2]), int(found[3])) if found else None


class _RateColumn(TextColumn):
    """Steps per second, or seconds per step when one takes longer than a second."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Any) -> Text:
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        return Text(
            f"{speed:.2f}/s" if speed >= 1 else f"{1 / speed:.2f} s each", style="progress.data.speed"
        )
