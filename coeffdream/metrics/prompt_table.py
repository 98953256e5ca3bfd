"""The CSV file that says which prompt each picture of another tool was drawn from."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

from coeffdream.errors import ScoreError, listed, quoted, together
from coeffdream.records.reading import read_text

TABLE_LIMIT = 64 << 20  # bytes


def read_prompt_table(table: Path, folder: Path) -> list[tuple[str, str]]:
    """(file, prompt) of every row. Raises ScoreError that lists all rows that do not fit `folder`."""
    columns = "a CSV file with the columns file and prompt, one row a picture"
    try:
        text = read_text(table, limit=TABLE_LIMIT, error=ScoreError)
        reader = csv.DictReader(io.StringIO(text, newline=""))
        if not {"file", "prompt"} <= set(reader.fieldnames or ()):
            found = listed([quoted(name) for name in reader.fieldnames or ()]) or "none"
            raise ScoreError(f"{table} has the columns {found}; --prompts wants {columns}")
        rows = [(reader.line_num, row["file"] or "", row["prompt"] or "") for row in reader]
    except (OSError, csv.Error) as error:
        why = getattr(error, "strerror", None) or error
        raise ScoreError(f"{table} cannot be read ({why}); --prompts wants {columns}") from None
    if not rows:
        raise ScoreError(f"{table} names no picture; --prompts wants {columns}")
    inside = Path(os.path.realpath(folder))
    seen: set[str] = set()
    problems = []
    for line, file, prompt in rows:
        if not file.strip() or not prompt.strip():
            problems.append(f"line {line} lacks the {'prompt' if file.strip() else 'file'}; fill it in")
        elif not Path(os.path.realpath(folder / file)).is_relative_to(inside):
            problems.append(f"line {line}: {quoted(file)} lies outside {folder}; copy it there")
        elif not _is_file(folder / file):
            problems.append(
                f"line {line}: {quoted(file)} does not exist in {folder}; correct the name or remove the row"
            )
        elif file in seen:
            problems.append(f"line {line} names {quoted(file)} again; a picture has one prompt")
        seen.add(file)
    if problems:
        raise ScoreError(together(f"{table} does not fit {folder}", problems))
    return [(file, prompt) for _, file, prompt in rows]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name longer than a disk takes
        return False
