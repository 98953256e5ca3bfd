"""The options of the studies: light enough for a command's help."""

from __future__ import annotations

from dataclasses import dataclass

from coeffdream.config import option
from coeffdream.errors import ConfigError, together
from coeffdream.limits import out_of_range

MOST = {"seeds": 1000, "heads": 32, "steps": 100_000}


@dataclass(frozen=True)
class ExpressivenessOptions:
    """The options of `study expressiveness`."""

    seeds: int = option(20, "Random starts of each arm.")
    heads: int = option(2, "Heads of the layer; each coordinate belongs to every other one.")
    steps: int = option(2000, "Adam's steps.")
    lr: float = option(0.05, "Adam's learning rate.")

    def check(self) -> None:
        """Raises ConfigError with everything that makes this no study."""
        problems = [
            problem
            for name, most in MOST.items()
            for problem in out_of_range(f"--{name}", getattr(self, name), at_least=1, at_most=most)
        ]
        if not 0 < self.lr <= 10:
            problems.append(f"--lr {self.lr} must be a positive number, at most 10")
        if problems:
            raise ConfigError(together("this makes no study", problems))
