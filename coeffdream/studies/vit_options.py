"""The options of `study vit`: light enough for a command's help."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from coeffdream.errors import ConfigError, listed, quoted, together
from coeffdream.limits import counts_out_of_range, rates_out_of_range
from coeffdream.option import option

REPORTED = ("digits", "color", "count", "orientation")
TASKS = (*REPORTED, "place")  # the last is the one that the learning rates were chosen on
# What is trained beside the head, by the name of the arm.
ARMS = (
    "linear",
    "coeff",
    "bitfit",
    "lora",
    "coeff-lora",
    "dora",
    "coeff-dora",
    "oft",
    "coeff-oft",
    "full",
)


def method_of(arm: str) -> str:
    """What the arm trains beside head and alpha; "" where that is nothing but alpha."""
    return arm.removeprefix("coeff").removeprefix("-")


# The same model without the coefficients: what a `coeff` arm is compared with, seed by seed.
WITHOUT = {arm: method_of(arm) or "linear" for arm in ARMS if arm.startswith("coeff")}

WIDTH = 64  # of the small backbone

MOST = {
    "seeds": 100,
    "epochs": 10_000,
    "batch_size": 1024,
    "train_images": 100_000,
    "test_images": 100_000,
    "rank": 2048,
    "pretrain_images": 1_000_000,
    "pretrain_epochs": 10_000,
}
# Learning rates of the head and of what is trained beside it (docs/paper.md has the rule).
RATES = {
    "linear": (0.3, 0.0),
    "bitfit": (0.3, 3e-3),
    "lora": (0.3, 3e-2),
    "dora": (0.3, 3e-2),  # as LoRA
    "oft": (0.03, 9e-2),
    "full": (0.03, 3e-3),
}
ALPHA_ALONE, ALPHA_BESIDE = 0.9, 3e-3


@dataclass(frozen=True)
class VitOptions:
    """The options of `study vit`."""

    tasks: str | None = option(
        None,
        f"What is learned, comma-separated: of {', '.join(TASKS)}.",
        shown=",".join(REPORTED),
    )
    data: str | None = option(
        None,
        "Learn a folder of pictures instead: train/CLASS/ and test/CLASS/.",
        shown="the tasks",
    )
    backbone: str | None = option(
        None,
        "A vision transformer of the hub, or its folder, e.g. google/vit-base-patch16-224-in21k.",
        shown="a small one, pretrained here",
    )
    heads: int = option(4, f"Of each layer of the small backbone; they divide its {WIDTH} channels.")
    arms: str = option(",".join(ARMS), "What is compared, comma-separated.")
    seeds: int = option(3, "Trainings of each arm on each task; they differ in head, adapters and order.")
    epochs: int = option(6, "Of each training; the paper has 100.")
    batch_size: int = option(64, "Pictures at a time.")
    train_images: int = option(1000, "Pictures to learn a task from.")
    test_images: int = option(1000, "At most so many to measure the accuracy on.")
    rank: int = option(4, "Of LoRA and DoRA.")
    coeff_dropout: float = option(0.1, "Of alpha beside another method; alpha alone has none.")
    head_lr: float | None = option(None, "Learning rate of the new head.", shown="what suits the arm")
    lr: float | None = option(
        None, "Of what the arm trains beside head and alpha.", shown="what suits the arm"
    )
    coeff_lr: float | None = option(
        None, "Of alpha.", shown=f"{ALPHA_ALONE:g} alone, {ALPHA_BESIDE:g} beside others"
    )
    pretrain_images: int = option(6000, "Pictures that the small backbone is pretrained on.")
    pretrain_epochs: int = option(20, "Of its pretraining.")
    device: Literal["auto", "cpu"] = option("auto", "The first card that there is, or the CPU.")

    study: ClassVar[str] = "vit"
    reported: ClassVar[tuple[str, ...]] = REPORTED
    known_arms: ClassVar[tuple[str, ...]] = ARMS
    against: ClassVar[Mapping[str, str]] = WITHOUT

    def check(self) -> None:
        """Raises ConfigError with everything that makes this no study."""
        problems = counts_out_of_range(self, MOST)
        problems += rates_out_of_range(self, "head_lr", "lr", "coeff_lr")
        if not 0 <= self.coeff_dropout < 1:
            problems.append(f"--coeff-dropout {self.coeff_dropout} must be at least 0 and below 1")
        if not 0 < self.heads <= WIDTH or WIDTH % self.heads:
            problems.append(f"--heads {self.heads} must divide {WIDTH}")
        elif self.backbone and self.heads != 4:
            problems.append(f"--heads {self.heads} is of the small backbone, and --backbone names another")
        if self.tasks is not None and self.data is not None:
            problems.append(
                f"--tasks {quoted(self.tasks)} are none of --data {quoted(self.data)}; give one of the two"
            )
        problems += _names("--tasks", self.chosen_tasks, TASKS) + _names(
            "--arms", self.chosen_arms, self.known_arms
        )
        if problems:
            raise ConfigError(together("this makes no study", problems))

    def method(self, arm: str) -> str:
        """What the arm trains beside head and alpha."""
        return method_of(arm)

    def alpha(self, arm: str) -> dict[str, Any] | None:
        """What the arm asks of `add_coefficients`; None where it has no alpha."""
        if not arm.startswith("coeff"):
            return None
        return {"dropout": self.coeff_dropout if method_of(arm) else 0.0}

    def rates(self, arm: str) -> dict[str, float]:
        """Learning rates of the head, of alpha, and of what else the arm trains: as typed, else what suits it.

        With alpha and without it head and method have the same.
        """
        head, own = RATES[WITHOUT.get(arm, arm)]
        alpha = ALPHA_BESIDE if method_of(arm) else ALPHA_ALONE
        return {"head": self.head_lr or head, "alpha": self.coeff_lr or alpha, "own": self.lr or own}

    @property
    def chosen_tasks(self) -> list[str]:
        return _split(self.tasks) if self.tasks is not None else list(self.reported)

    @property
    def chosen_arms(self) -> list[str]:
        return _split(self.arms)


def _split(text: str) -> list[str]:
    return list(dict.fromkeys(part.strip() for part in text.split(",")))


def _names(flag: str, names: list[str], known: tuple[str, ...]) -> list[str]:
    strange = [name for name in names if name not in known]
    return [f"{flag} {quoted(listed(strange))}: there are {', '.join(known)}"] if strange else []
