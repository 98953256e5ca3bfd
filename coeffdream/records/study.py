"""study.json: the plan of a study of concepts x methods x training seeds, and where its cells lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coeffdream.errors import ConfigError, RunError
from coeffdream.records.fields import Text, record_from_json
from coeffdream.records.files import read_json
from coeffdream.records.run import RunFolder
from coeffdream.records.study_plan import Cell, Study


@dataclass(frozen=True)
class StoreRecord:
    """store.json: the address that bench concepts was given with --store, which holds no secret."""

    address: Text


@dataclass(frozen=True)
class StudyFolder:
    """The paths inside a study's folder."""

    path: Path

    @property
    def record_file(self) -> Path:
        return self.path / "study.json"

    @property
    def arms_file(self) -> Path:
        """The description of the arms as it was given."""
        return self.path / "arms.toml"

    @property
    def store_file(self) -> Path:
        """Says where the study is kept beside this folder, if anywhere."""
        return self.path / "store.json"

    @property
    def runs(self) -> Path:
        return self.path / "runs"

    @property
    def shared(self) -> Path:
        """What is made once for all cells."""
        return self.path.resolve() / "shared"

    def run(self, cell: Cell) -> RunFolder:
        return RunFolder(self.runs / cell.name)

    def log(self, cell: Cell) -> Path:
        return self.path / "logs" / f"{cell.name}.log"

    def store(self) -> str | None:
        """The address where the study is kept. Raises RunError for a damaged file."""
        if not self.store_file.is_file():
            return None
        return record_from_json(StoreRecord, read_json(self.store_file), self.store_file).address

    def read(self) -> Study:
        """The plan. Raises RunError when the file is missing, damaged, or no plan."""
        return study_from(read_json(self.record_file), self.record_file)


def study_from(value: Any, where: Path | str) -> Study:
    """The plan that a study.json holds. Raises RunError when it is none."""
    study = record_from_json(Study, value, where)
    if not study.methods:
        raise RunError(f"{where} names no methods; restore that file")
    try:
        study.check()
    except ConfigError as problem:
        raise RunError(f"{where}: {problem}; restore that file") from None
    return study
