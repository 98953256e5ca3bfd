"""The trainings of a study: each is kept as it ends, and the same study asked for again goes on where it was."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from coeffdream.errors import ConfigError, RunError
from coeffdream.progress import Progress
from coeffdream.records.claim import claimed
from coeffdream.records.environment import versions
from coeffdream.records.fields import record_from_json, record_to_json
from coeffdream.records.files import read_json, write_json

Tell = Callable[[int, int], None]  # hears (step, of how many) after each step
Cell = TypeVar("Cell")
Key = TypeVar("Key", bound=tuple[Any, ...])


@contextlib.contextmanager
def study_folder(out: Path, study: str, options: Any, not_of_a_cell: Collection[str]) -> Iterator[None]:
    """Hold `out` for this study; in study.json stands what every training in it has in common.

    `not_of_a_cell`: options that say how many there are and where they are computed, and not what one of them is.
    Raises ConfigError for a file, InUseError beside another process, RunError where the trainings are others.
    """
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out} is a file; name a folder")
    remedy = "wait until that has ended, or choose another --out"
    with claimed(out, study, f"the study in {out}", remedy):
        of_a_cell = {
            name: value for name, value in dataclasses.asdict(options).items() if name not in not_of_a_cell
        }
        _same_study(out, of_a_cell)
        yield


def train_absent(
    out: Path,
    kind: type[Cell],
    wanted: Sequence[Key],
    train: Callable[[Key, Tell], Cell],
    progress: Progress,
) -> list[Cell]:
    """Every wanted training, by a key of names and numbers; those that `out` holds already as they are."""
    absent = [key for key in wanted if not _file(out, key).is_file()]
    for number, key in enumerate(absent):
        cell = train(key, _telling(progress, number, len(absent), " ".join(map(str, key))))
        write_json(_file(out, key), record_to_json(cell))
    return [record_from_json(kind, read_json(_file(out, key)), _file(out, key)) for key in wanted]


def _telling(progress: Progress, number: int, count: int, note: str) -> Tell:
    """Tells the steps of training `number` among those of all `count`."""
    return lambda step, steps: progress("trainings", number * steps + step, count * steps, note)


def _same_study(out: Path, of_a_cell: dict[str, Any]) -> None:
    """Write down what the cells of this folder are. Raises RunError where they are others."""
    file = out / "study.json"
    if not file.is_file():
        write_json(file, {"options": of_a_cell, "versions": versions()})
        return
    held = read_json(file)
    before = held.get("options") if isinstance(held, dict) else None
    if not isinstance(before, dict):
        raise RunError(f"{file} is damaged (it holds no options); remove {out} and run the study again")
    for name, value in of_a_cell.items():
        if before.get(name) != value:
            flag = f"--{name.replace('_', '-')}"
            raise RunError(
                f"{out} holds a study with {flag} {before.get(name)}, and this one has {flag} {value}; choose another "
                "--out, or the same options"
            )


def _file(out: Path, key: tuple[Any, ...]) -> Path:
    return out / "cells" / f"{'.'.join(map(str, key))}.json"
