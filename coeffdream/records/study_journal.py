"""What a study writes of itself while it runs, for whoever looks from another terminal.

stages.jsonl: a line for every command that ended, from the first day on. now.json: who runs what at this moment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from coeffdream.records.fields import record_from_json, record_to_json
from coeffdream.records.files import iter_jsonl, json_line, read_json, write_json

FLAGS = ("--no-adapter", "--unrelated")


def sort_of(arguments: Sequence[str]) -> str:
    """A command without what differs from cell to cell: train, generate, generate --no-adapter, ..., eval."""
    return " ".join([arguments[0], *(flag for flag in FLAGS if flag in arguments)])


@dataclass(frozen=True)
class StageEnd:
    """A command that ended. status: None where its worker was lost. seconds: on the worker, its waiting not counted."""

    cell: str
    command: str  # of `sort_of`
    began: str
    seconds: float
    status: int | None


@dataclass(frozen=True)
class Running:
    """A command at work. number: its place among the `of` that its cell needed."""

    cell: str
    command: str
    number: int
    of: int
    began: str


@dataclass(frozen=True)
class Now:
    """where: the engine, in words."""

    since: str
    where: str
    jobs: int
    running: list[Running] = field(default_factory=list)


@dataclass(frozen=True)
class Journal:
    """Written by the one process that holds the study; read by anybody."""

    folder: Path

    @property
    def ends_file(self) -> Path:
        return self.folder / "stages.jsonl"

    @property
    def now_file(self) -> Path:
        return self.folder / "now.json"

    def add(self, end: StageEnd) -> None:
        with self.ends_file.open("ab") as stream:
            stream.write(json_line(record_to_json(end)))

    def set_now(self, now: Now) -> None:
        write_json(self.now_file, record_to_json(now))

    def ends(self) -> list[StageEnd]:
        """The commands that ended so far. Raises RunError for a damaged file."""
        if not self.ends_file.exists():
            return []
        rows = iter_jsonl(self.ends_file, growing=True)
        return [
            record_from_json(StageEnd, row, f"{self.ends_file}: [{n}]") for n, (_, row) in enumerate(rows)
        ]

    def now(self) -> Now | None:
        """As it was written last, by a process that may have been killed since. Raises RunError for a damaged file."""
        if not self.now_file.exists():
            return None
        return record_from_json(Now, read_json(self.now_file), self.now_file)


def at(seconds: float) -> str:
    """A moment of time.time() as the records have it."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")


def age(moment: str) -> float:
    """Seconds since a moment of the records; 0 for what is none."""
    try:
        return (datetime.now(timezone.utc) - datetime.fromisoformat(moment)).total_seconds()
    except (ValueError, TypeError):
        return 0.0
