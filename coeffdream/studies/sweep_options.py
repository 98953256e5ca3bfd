"""The options of `sweep`: light enough for a command's help."""

from __future__ import annotations

import math
from dataclasses import dataclass

from coeffdream.config import Precision
from coeffdream.errors import ConfigError, quoted, together
from coeffdream.limits import MOST, counts_out_of_range, out_of_range
from coeffdream.option import option

LARGEST = {
    "images_per_prompt": 10_000,
    "steps": 1000,
    "size": MOST["resolution"],
    "batch_size": 1024,
}


@dataclass(frozen=True)
class SweepOptions:
    """What is drawn at every checkpoint; None means: as the base recommends."""

    lora_scale: str = option("1", "Strengths of the LoRA or DoRA, comma-separated: each at every checkpoint.")
    alpha_scale: str = option("1", "Strengths of the head-mixing coefficients, likewise.")
    prompts: int = option(
        10, "How many of the benchmark's prompts, evenly chosen, and of the unrelated ones."
    )
    images_per_prompt: int = option(1, "Images for each prompt.")
    seed: int = option(0, "Image number i of each set has seed SEED + i.")
    steps: int | None = option(None, "Sampling steps.", shown="the base's")
    size: int | None = option(None, "Side in pixels.", shown="the base's")
    batch_size: int | None = option(None, "Images at a time.", shown="the base's")
    precision: Precision = option("auto", "Of the base.")
    device: str = option("auto", "auto, cpu, cuda, cuda:1 or mps.")

    def check(self) -> list[tuple[float, float]]:
        """Every pair of strengths, of the low-rank part and of alpha. Raises ConfigError with all that is wrong."""
        problems = counts_out_of_range(self, LARGEST)
        # Of two prompts and more it is known what comes about by chance.
        problems += out_of_range("--prompts", self.prompts, at_least=2, at_most=1000)
        problems += out_of_range("--seed", self.seed, at_least=0, at_most=MOST["seed"])
        scales = []
        for flag, text in (("--lora-scale", self.lora_scale), ("--alpha-scale", self.alpha_scale)):
            try:
                scales.append([_finite(part) for part in text.split(",")])
            except ValueError:
                problems.append(f"{flag} {quoted(text)} must be finite numbers, such as 1,0.7")
        if problems:
            raise ConfigError(together("these options make no sweep", problems))
        lora, alpha = scales
        return list(dict.fromkeys((one, other) for one in lora for other in alpha))


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value
