"""study.json: the plan of a study of concepts x methods x training seeds, and where its cells lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from coeffdream.errors import ConfigError, RunError, quoted, together
from coeffdream.records.fields import record_from_json, record_to_json
from coeffdream.records.files import read_json, write_json
from coeffdream.records.run import RunFolder


@dataclass(frozen=True)
class Cell:
    """One training run of the study. `concept` is the folder of its photos."""

    concept: str
    method: str
    seed: int

    @property
    def concept_name(self) -> str:
        return Path(self.concept).name

    @property
    def name(self) -> str:
        return f"{self.concept_name}-{self.method}-seed{self.seed}"


@dataclass(frozen=True)
class Study:
    """What study.json says: the whole plan. `concepts` are absolute folders; None means the base's default."""

    base: str
    concepts: list[str]
    methods: list[str]
    seeds: int
    steps: int | None = None
    lr: float | None = None
    images_per_prompt: int = 4
    sampling_steps: int | None = None
    device: str = "auto"

    @property
    def cells(self) -> list[Cell]:
        """Every method of a concept and seed before the next, so that pairs are complete early."""
        return [
            Cell(concept, method, seed)
            for seed in range(self.seeds)
            for concept in self.concepts
            for method in self.methods
        ]

    def check(self) -> None:
        """Raises ConfigError with everything that makes this no study."""
        problems = []
        names = [Path(concept).name for concept in self.concepts]
        if not names:
            problems.append("no concept: give --concepts with folders of photos")
        problems += [f"two concepts are called {name}" for name in {n for n in names if names.count(n) > 1}]
        problems += [
            f"method {m} is named twice" for m in {m for m in self.methods if self.methods.count(m) > 1}
        ]
        if not 1 <= self.seeds <= 1000:
            problems.append(f"--seeds {quoted(self.seeds)} must be at least 1 and at most 1,000")
        if self.lr is not None and not self.lr > 0:
            problems.append(f"--lr {self.lr} must be a positive number")
        if problems:
            raise ConfigError(together("this makes no study", problems))


@dataclass(frozen=True)
class StudyFolder:
    """The paths inside a study's folder."""

    path: Path

    @property
    def record_file(self) -> Path:
        return self.path / "study.json"

    @property
    def runs(self) -> Path:
        return self.path / "runs"

    def run(self, cell: Cell) -> RunFolder:
        return RunFolder(self.runs / cell.name)

    def log(self, cell: Cell) -> Path:
        return self.path / "logs" / f"{cell.name}.log"

    def read(self) -> Study:
        """The plan. Raises RunError when the file is missing, damaged, or no plan."""
        study = record_from_json(Study, read_json(self.record_file), self.record_file)
        if not study.methods:
            raise RunError(f"{self.record_file} names no methods; restore that file")
        try:
            study.check()
        except ConfigError as problem:
            raise RunError(f"{self.record_file}: {problem}; restore that file") from None
        return study

    def write(self, study: Study) -> None:
        write_json(self.record_file, record_to_json(study))
