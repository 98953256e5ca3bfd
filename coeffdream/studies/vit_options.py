"""The options of `study vit`: light enough for a command's help."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from coeffdream.config import option
from coeffdream.errors import ConfigError, listed, quoted, together
from coeffdream.limits import out_of_range

# What `--tasks` may name. `kind` is what the small backbone was pretrained on, and so no transfer.
TASKS = ("digits", "color", "count", "orientation", "place")
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
# The same model without the coefficients: what a `coeff` arm is compared with, seed by seed.
WITHOUT = {arm: arm.removeprefix("coeff").removeprefix("-") or "linear" for arm in ARMS if "coeff" in arm}

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
RATES = ("head_lr", "coeff_lr", "lora_lr", "oft_lr", "bias_lr", "full_lr")


@dataclass(frozen=True)
class VitOptions:
    """The options of `study vit`."""

    tasks: str = option(
        "digits,color,count,orientation", f"What is learned, comma-separated: of {', '.join(TASKS)}."
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
    arms: str = option(",".join(ARMS), "What is compared, comma-separated.")
    seeds: int = option(3, "Trainings of each arm on each task; they differ in head, adapters and order.")
    epochs: int = option(6, "Of each training; the paper has 100.")
    batch_size: int = option(64, "Pictures at a time.")
    train_images: int = option(1000, "Pictures to learn a task from.")
    test_images: int = option(1000, "At most so many to measure the accuracy on.")
    rank: int = option(4, "Of LoRA and DoRA.")
    coeff_dropout: float = option(0.1, "Of alpha beside another method; alpha alone has none.")
    head_lr: float = option(3e-3, "Learning rate of the new head, in every arm.")
    coeff_lr: float = option(1e-2, "Of alpha.")
    lora_lr: float = option(3e-3, "Of LoRA and DoRA.")
    oft_lr: float = option(3e-3, "Of OFT.")
    bias_lr: float = option(3e-3, "Of BitFit's biases.")
    full_lr: float = option(1e-3, "Of every weight, where all are trained.")
    pretrain_images: int = option(6000, "Pictures that the small backbone is pretrained on.")
    pretrain_epochs: int = option(20, "Of its pretraining.")
    device: Literal["auto", "cpu"] = option("auto", "The first card that there is, or the CPU.")

    def check(self) -> None:
        """Raises ConfigError with everything that makes this no study."""
        problems = [
            problem
            for name, most in MOST.items()
            for problem in out_of_range(
                f"--{name.replace('_', '-')}", getattr(self, name), at_least=1, at_most=most
            )
        ]
        problems += [
            f"--{name.replace('_', '-')} {getattr(self, name)} must be a positive number, at most 10"
            for name in RATES
            if not 0 < getattr(self, name) <= 10
        ]
        if not 0 <= self.coeff_dropout < 1:
            problems.append(f"--coeff-dropout {self.coeff_dropout} must be at least 0 and below 1")
        problems += _names("--tasks", self.tasks, TASKS) + _names("--arms", self.arms, ARMS)
        if problems:
            raise ConfigError(together("this makes no study", problems))

    @property
    def chosen_tasks(self) -> list[str]:
        return _split(self.tasks)

    @property
    def chosen_arms(self) -> list[str]:
        return _split(self.arms)


def _split(text: str) -> list[str]:
    return list(dict.fromkeys(part.strip() for part in text.split(",")))


def _names(flag: str, text: str, known: tuple[str, ...]) -> list[str]:
    strange = [name for name in _split(text) if name not in known]
    return [f"{flag} {quoted(listed(strange))}: there are {', '.join(known)}"] if strange else []
