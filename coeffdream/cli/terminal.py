"""What a person sees: a progress bar on a terminal, plain lines in a pipe, results on standard output."""

from __future__ import annotations

import io
import json
import re
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

SECONDS_BETWEEN_LINES = 10.0


def use_any_encoding() -> None:
    """Let standard output put a question mark for what its encoding lacks. Standard error escapes it already."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def printable(text: str) -> str:
    """Text whose control characters are escaped: a file's name may hold commands to the terminal."""
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def say(text: str = "") -> None:
    """A line about what is going on, on standard error."""
    Console(stderr=True, highlight=False, soft_wrap=True, emoji=False).print(printable(text), markup=False)


def warn(text: str) -> None:
    Console(stderr=True, highlight=False, soft_wrap=True, emoji=False).print(
        f"warning: {printable(text)}", style="yellow", markup=False
    )


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
            BarColumn(),
            MofNCompleteColumn(),
            _RateColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", style="dim"),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}
        self._started: dict[str, tuple[float, int]] = {}
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
        if self._live:
            if stage not in self._tasks:
                self._tasks[stage] = self._bar.add_task(stage, total=total, note=note)
            self._bar.update(self._tasks[stage], completed=done, total=total, note=note[:40])
        else:
            self._line(stage, done, total, note)

    def _line(self, stage: str, done: int, total: int, note: str) -> None:
        now = time.monotonic()
        first = stage not in self._started
        started, before = self._started.setdefault(stage, (now, done))
        if not first and done < total and now - self._last_line < SECONDS_BETWEEN_LINES:
            return
        if first and done < total and total > 1:
            return
        self._last_line = now
        rate = (done - before) / (now - started) if now > started else 0.0
        left = f", {(total - done) / rate:.0f} s left" if rate > 0 and done < total else ""
        speed = f" ({rate:.2f}/s{left})" if rate > 0 and total > 1 else ""
        print(f"{stage} {done}/{total}{speed}{' ' + note if note else ''}", file=sys.stderr, flush=True)


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
