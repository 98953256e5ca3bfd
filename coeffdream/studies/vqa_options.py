"""The options of `study vqa`: light enough for a command's help."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from coeffdream.errors import ConfigError, listed, quoted, together
from coeffdream.limits import counts_out_of_range, out_of_range, rates_out_of_range
from coeffdream.option import option

COLOR, COUNT, WHERE = "color", "count", "where"
# What is trained beside the layer for pictures, by the name of the arm.
ARMS = ("projection", "coeff", "lora", "coeff-lora", "dora", "coeff-dora", "full")
# The same model without the coefficients.
WITHOUT = {"coeff": "projection", "coeff-lora": "lora", "coeff-dora": "dora"}

MOST = {
    "seeds": 100,
    "epochs": 10_000,
    "batch_size": 1024,
    "train_pictures": 100_000,
    "test_pictures": 100_000,
    "pretrain_pictures": 1_000_000,
    "pretrain_epochs": 10_000,
}
# Learning rates of all but alpha, and of alpha: for LoRA and DoRA those of arXiv 2503.18337, Appendix B.4.
RATES = {
    "projection": (5e-4, 5e-4),
    "lora": (5e-4, 2e-4),
    "dora": (1e-3, 5e-4),
    "full": (5e-5, 0.0),
}
# For the small backbone, of a twelfth of the channels, after a hundredth of the steps (docs/paper.md).
SMALL_TIMES = 20


@dataclass(frozen=True)
class VqaOptions:
    """The options of `study vqa`."""

    backbone: str | None = option(
        None,
        "A BART of the hub, or its folder, e.g. facebook/bart-base.",
        shown="a small one, pretrained here",
    )
    data: str | None = option(
        None,
        "Learn a folder of questions instead: train.jsonl and test.jsonl, each line with image, question, answer.",
        shown="drawn scenes",
    )
    vision: str | None = option(
        None, "The frozen DINOv2 that sees the pictures, of the hub or a folder.", shown="the embedded one"
    )
    arms: str = option(",".join(ARMS), "What is compared, comma-separated.")
    seeds: int = option(3, "Trainings of each arm; they differ in adapters and order.")
    epochs: int = option(6, "Of each training; VL-BART has 20.")
    batch_size: int = option(64, "Questions at a time.")
    train_pictures: int = option(800, "At most so many pictures to learn from.")
    test_pictures: int = option(500, "At most so many to measure on.")
    rank: int | None = option(None, "Of LoRA and DoRA.", shown="128 of 768 channels, and in proportion")
    coeff_dropout: float = option(0.2, "Of alpha.")
    coeff_weight_decay: float = option(1e-6, "Of alpha.")
    lr: float | None = option(None, "Learning rate of all but alpha.", shown="what suits the arm")
    coeff_lr: float | None = option(None, "Of alpha.", shown="what suits the arm")
    pretrain_pictures: int = option(1500, "Pictures that the small backbone is pretrained on.")
    pretrain_epochs: int = option(10, "Of its pretraining.")
    device: Literal["auto", "cpu"] = option("auto", "The first card that there is, or the CPU.")

    against: ClassVar[Mapping[str, str]] = WITHOUT

    def check(self) -> None:
        """Raises ConfigError with everything that makes this no study."""
        problems = counts_out_of_range(self, MOST)
        problems += out_of_range("--rank", self.rank, at_least=1, at_most=2048)
        problems += rates_out_of_range(self, "lr", "coeff_lr")
        if not 0 <= self.coeff_dropout < 1:
            problems.append(f"--coeff-dropout {self.coeff_dropout} must be at least 0 and below 1")
        if not 0 <= self.coeff_weight_decay <= 1:
            problems.append(f"--coeff-weight-decay {self.coeff_weight_decay} must be from 0 to 1")
        if self.data and not self.backbone:
            problems.append(
                f"--data {quoted(self.data)} needs --backbone: the small one knows the words of drawn scenes only"
            )
        if strange := [arm for arm in self.chosen_arms if arm not in ARMS]:
            problems.append(f"--arms {quoted(listed(strange))}: there are {', '.join(ARMS)}")
        if problems:
            raise ConfigError(together("this makes no study", problems))

    def rank_of(self, width: int) -> int:
        """LoRA's and DoRA's in a model of so many channels."""
        return self.rank or max(1, width // 6)

    def rates(self, arm: str) -> tuple[float, float]:
        """Learning rates of all but alpha, and of alpha; the first is the same with alpha and without it."""
        times = 1 if self.backbone else SMALL_TIMES
        own, alpha = RATES[WITHOUT.get(arm, arm)]
        return self.lr or times * own, self.coeff_lr or times * alpha

    @property
    def chosen_arms(self) -> list[str]:
        return list(dict.fromkeys(part.strip() for part in self.arms.split(",")))
