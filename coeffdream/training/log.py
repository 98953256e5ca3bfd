"""train.jsonl while it grows: whoever watches sees each step at once."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from coeffdream.errors import RunError
from coeffdream.records.claim import confirm
from coeffdream.records.files import iter_jsonl, json_line, sync, write_jsonl


class StepLog:
    """The log of the steps from `step` on; `past` are those before. Raises RunError for a damaged file."""

    def __init__(self, file: Path, step: int) -> None:
        self._file = file
        self.past = _rows_until(file, step)
        confirm(file.parent)
        write_jsonl(file, self.past)  # what lies beyond is done again

    def add(self, row: dict[str, Any]) -> dict[str, Any]:
        """Hand a step to the system: the end of this process does not lose it, a power cut may.

        Returns the row as the file has it.
        """
        confirm(self._file.parent)
        kept = {key: _finite(value) for key, value in row.items()}
        try:
            with self._file.open("ab", buffering=0) as stream:
                stream.write(json_line(kept))
        except OSError as error:
            error.filename = error.filename or str(self._file)
            raise
        return kept

    def keep(self) -> None:
        """Return when every step is on the disk."""
        confirm(self._file.parent)
        try:
            sync(self._file)
        except OSError as error:
            error.filename = error.filename or str(self._file)
            raise


class Unwritten:
    """The log of a process that writes none: the first of the run does."""

    past: tuple[dict[str, Any], ...] = ()

    def add(self, row: dict[str, Any]) -> dict[str, Any]:
        return row

    def keep(self) -> None: ...


def _rows_until(file: Path, step: int) -> list[dict[str, Any]]:
    """The log up to the checkpoint that training resumes from.

    It was on the disk before that checkpoint was; a power cut may have left anything behind it.
    """
    rows: list[dict[str, Any]] = []
    if step == 0 or not file.exists():
        return rows
    for _, row in iter_jsonl(file, growing=True):
        if not (isinstance(row, dict) and isinstance(row.get("step"), int)):
            raise RunError(f"{file}, line {len(rows) + 1} is no training step; remove that line")
        if row["step"] <= step:
            rows.append(row)
        if row["step"] >= step:
            break
    return rows


def _finite(value: Any) -> Any:
    """JSON has no NaN: a gradient that overflowed under loss scaling is logged as null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
