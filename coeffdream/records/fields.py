"""Dataclass records to JSON and back, nested ones included, every value checked against its type.

A key that no type knows is refused by name, also one that a newer coeffdream wrote: it may change what the others
mean, and a run's record is written again when the run goes on, which would lose it. A key that came to a type
later has a default, so that older records load.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, TypeVar

from msgspec import Meta

from coeffdream.checked import converted, unknown_keys
from coeffdream.errors import RunError

Record = TypeVar("Record")
Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Text = Annotated[str, Meta(min_length=1)]


def record_to_json(record: Any) -> dict[str, Any]:
    return dataclasses.asdict(record)


def record_from_json(kind: type[Record], value: Any, where: Path | str) -> Record:
    """Build `kind`, or a list of them, from JSON. Raises RunError that names the file and the path of what is wrong."""
    reads = getattr(kind, "format", None)
    if reads is not None and isinstance(value, dict) and value.get("format", reads) != reads:
        raise RunError(
            f"{where} has format {value['format']!r:.20} and this coeffdream reads format {reads}; "
            "use the version that wrote it, or run that stage again"
        )
    if unknown := list(unknown_keys(kind, value)):
        raise RunError(
            f"{where} has unknown {', '.join(unknown[:5])}; restore that file, or use the version that wrote it"
        )
    try:
        return converted(kind, value)
    except ValueError as problem:
        raise RunError(f"{where}: {problem}; restore that file, or run that stage again") from None
