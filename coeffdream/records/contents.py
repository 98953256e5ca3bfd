"""contents/CELL.json at a study's store: which files of a cell are there, whole, and what each of them must be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from coeffdream.records.fields import Count, record_from_json, record_to_json
from coeffdream.records.files import json_line, parse_json
from coeffdream.records.reading import decoded

FORMAT = 1


@dataclass(frozen=True)
class Kept:
    """A file of a run. at: where in the store its bytes lie, if that is with another cell that drew the same picture."""

    size: Count
    sha256: str
    at: str = ""


@dataclass(frozen=True)
class Contents:
    """By their paths inside of the run's folder."""

    files: dict[str, Kept] = field(default_factory=dict)
    format: int = FORMAT

    def __post_init__(self) -> None:
        for name in [*self.files, *(each.at for each in self.files.values() if each.at)]:
            if not is_plain(name):
                raise ValueError(f"{name!r:.80} leads out of the run's folder")


def is_plain(name: str) -> bool:
    """Whether it is the path of a file below the folder that it is seen from, and neither hidden nor another system's."""
    parts = PurePosixPath(name).parts
    return (
        bool(parts) and not set(name) & {"\\", ":", "\0"} and not any(p.startswith((".", "/")) for p in parts)
    )


def contents_from(data: bytes, where: str) -> Contents:
    """Raises RunError for what is damaged, or leads out of the run."""
    try:
        value: Any = parse_json(decoded(data))
    except ValueError as error:
        value = str(error)
    return record_from_json(Contents, value, where)


def contents_of(files: Mapping[str, Kept]) -> bytes:
    return json_line(record_to_json(Contents(dict(files))))
