"""The plan of a study of concepts x arms x training seeds: light enough for a command's help.

An arm is a method, or a method with training options of its own under a name of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from coeffdream.config import flag_of
from coeffdream.errors import ConfigError, listed, quoted, together
from coeffdream.limits import LARGEST, MOST, out_of_range
from coeffdream.methods import method_problems
from coeffdream.option import option
from coeffdream.records.arms import AGAINST, check_arm

# What every cell of a study has in common.
COMMON = ("base", "steps", "lr", "images_per_prompt", "sampling_steps", "device")
MOST_OF_A_STUDY = {"seeds": 1000, "steps": MOST["steps"], "images_per_prompt": 10_000, "sampling_steps": 1000}


@dataclass(frozen=True)
class Cell:
    """One training run of the study. `concept` is the folder of its photos."""

    concept: str
    arm: str
    seed: int

    @property
    def concept_name(self) -> str:
        return Path(self.concept).name

    @property
    def name(self) -> str:
        return f"{self.concept_name}-{self.arm}-seed{self.seed}"


@dataclass(frozen=True)
class Study:
    """What study.json says: the whole plan. None means the base's default.

    `concepts` are absolute folders; a concept is known by the folder's name, so that its photos may lie elsewhere later.
    `methods` are the arms in their order; one that `arms` does not describe is the method of that name.
    """

    concepts: list[str]
    methods: list[str]
    arms: dict[str, dict[str, str | int | float | bool | list[str]]] = field(default_factory=dict)
    base: str = option("sdxl", "The base model.")
    seeds: int = option(1, "Training seeds of each method on each concept.")
    steps: int | None = option(None, "Training steps.", shown="the base's")
    lr: float | None = option(None, "Learning rate.", shown="the base's")
    images_per_prompt: int = option(4, "Images for each prompt.")
    sampling_steps: int | None = option(None, "Sampling steps.", shown="the base's")
    device: str = option("auto", "auto, cpu, cuda, cuda:1 or mps.")

    @property
    def cells(self) -> list[Cell]:
        """Every arm of a concept and seed before the next, so that pairs are complete early."""
        return [
            Cell(concept, arm, seed)
            for seed in range(self.seeds)
            for concept in self.concepts
            for arm in self.methods
        ]

    def options_of(self, arm: str) -> dict[str, Any]:
        """The training options of an arm, its method among them, over those of the whole study."""
        common = {"steps": self.steps, "lr": self.lr}
        given = {name: value for name, value in common.items() if value is not None}
        return {**given, **self.described(arm)}

    def described(self, arm: str) -> dict[str, str | int | float | bool | list[str]]:
        """What the plan says of an arm alone."""
        return self.arms.get(arm, {"method": arm})

    def baseline_of(self, arm: str) -> str | None:
        """The arm that this one says it is compared with."""
        against = self.arms.get(arm, {}).get(AGAINST)
        return None if against is None else str(against)

    def after(self, before: Study) -> Study:
        """This plan as `before` goes on: every cell of `before` is in it, in the same order, and the new ones follow.

        A concept that moved is where this plan has it.

        Raises ConfigError that names what of `before` is another, or is not there.
        """
        was, now = vars(before), vars(self)
        folders = {Path(folder).name: folder for folder in self.concepts}
        known = [Path(folder).name for folder in before.concepts]
        others = [f"{key} was {was[key]!r} and is now {now[key]!r}" for key in COMMON if was[key] != now[key]]
        others += [
            f"arm {arm} was {before.described(arm)} and is now {self.described(arm)}"
            for arm in before.methods
            if arm in self.methods and before.described(arm) != self.described(arm)
        ]
        gone = [f"method {arm} is left out" for arm in before.methods if arm not in self.methods]
        gone += [f"concept {name} is left out" for name in known if name not in folders]
        if self.seeds < before.seeds:
            gone.append(f"seeds was {before.seeds} and is now {self.seeds}")
        if others:
            raise ConfigError(together("holds another study (name another --study)", [*others, *gone]))
        if gone:
            raise ConfigError(
                together(
                    "holds a larger study, and a study only grows (name another --study, or compare a part of its runs: "
                    "coeffdream compare RUN ... --by method)",
                    gone,
                )
            )
        return replace(
            self,
            concepts=[folders[name] for name in dict.fromkeys([*known, *folders])],
            methods=list(dict.fromkeys([*before.methods, *self.methods])),
            arms={**before.arms, **self.arms},
        )

    def growth_since(self, before: Study) -> str | None:
        """What this plan has more than `before`, in words; None for nothing."""
        said = [f"seeds {before.seeds} to {self.seeds}"] if self.seeds > before.seeds else []
        known = {Path(folder).name for folder in before.concepts}
        concepts = [Path(each).name for each in self.concepts if Path(each).name not in known]
        methods = [each for each in self.methods if each not in before.methods]
        said += [f"with {listed(more)}" for more in (concepts, methods) if more]
        if not said:
            return None
        return f"study grows from {len(before.cells):,} to {len(self.cells):,} cells: {', '.join(said)}"

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
        unknown = [name for name in self.methods if name not in self.arms and method_problems(name, [])]
        problems += [f"{quoted(name)} is neither a method nor one of the arms" for name in unknown]
        for arm in self.arms:
            problems += check_arm(arm, self.arms)
        for name, most in MOST_OF_A_STUDY.items():
            problems += out_of_range(flag_of(name, Study), getattr(self, name), at_least=1, at_most=most)
        if self.lr is not None and not 0 < self.lr <= LARGEST:
            problems.append(f"--lr {self.lr} must be a positive number, at most {LARGEST:,}")
        if problems:
            raise ConfigError(together("this makes no study", problems))
