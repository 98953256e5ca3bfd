"""study.json: the plan of a study of concepts x methods x training seeds, and where its cells lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from coeffdream.config import flag_of, option
from coeffdream.errors import ConfigError, RunError, together
from coeffdream.limits import LARGEST, MOST, out_of_range
from coeffdream.records.fields import record_from_json, record_to_json
from coeffdream.records.files import read_json, write_json
from coeffdream.records.run import RunFolder

MOST_OF_A_STUDY = {"seeds": 1000, "steps": MOST["steps"], "images_per_prompt": 10_000, "sampling_steps": 1000}


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

    concepts: list[str]
    methods: list[str]
    base: str = option("sdxl", "The base model.")
    seeds: int = option(1, "Training seeds of each method on each concept.")
    steps: int | None = option(None, "Training steps.", shown="the base's")
    lr: float | None = option(None, "Learning rate.", shown="the base's")
    images_per_prompt: int = option(4, "Images for each prompt.")
    sampling_steps: int | None = option(None, "Sampling steps.", shown="the base's")
    device: str = option("auto", "auto, cpu, cuda, cuda:1 or mps.")

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
        for name, most in MOST_OF_A_STUDY.items():
            problems += out_of_range(flag_of(name, Study), getattr(self, name), at_least=1, at_most=most)
        if self.lr is not None and not 0 < self.lr <= LARGEST:
            problems.append(f"--lr {self.lr} must be a positive number, at most {LARGEST:,}")
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
