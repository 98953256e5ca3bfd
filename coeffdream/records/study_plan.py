"""The plan of a study of concepts x methods x training seeds: light enough for a command's help."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from coeffdream.config import flag_of, option
from coeffdream.errors import ConfigError, together
from coeffdream.limits import LARGEST, MOST, out_of_range

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
