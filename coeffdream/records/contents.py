"""contents/CELL.json at a study's store: which files of a cell are there, whole, and what each of them must be."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from coeffdream.records.fields import Count, record_from_json, record_to_json
from coeffdream.records.files import json_line, parse_json
from coeffdream.records.reading import decoded

FORMAT = 1


@dataclass(frozen=True)
class Kept:
    """A file of a run. name: its path inside of the run's folder. at: where in the store its bytes lie, if that is with
    another cell that has the same picture."""

    name: str
    size: Count
    sha256: str
    at: str = ""

    def __post_init__(self) -> None:
        for name in (self.name, self.at or self.name):
            if not is_plain(name):
                raise ValueError(f"{name!r:.80} leads out of its folder")


@dataclass(frozen=True)
class Contents:
    files: list[Kept] = field(default_factory=list)
    format: int = FORMAT


def is_plain(name: str) -> bool:
    """Whether it is the path of a file below the folder that it is seen from, and neither hidden nor another system's."""
    parts = PurePosixPath(name).parts
    return (
        bool(parts) and not set(name) & {"\\", ":", "\0"} and not any(p.startswith((".", "/")) for p in parts)
    )


def contents_from(data: bytes, where: str) -> dict[str, Kept]:
    """By name. Raises RunError for what is damaged, or leads out of the run."""
    try:
        value: Any = parse_json(decoded(data))
    except ValueError as error:
        value = str(error)
    return {kept.name: kept for kept in record_from_json(Contents, value, where).files}


def contents_of(files: Iterable[Kept]) -> bytes:
    return json_line(record_to_json(Contents(list(files))))
