"""The options of the studies: light enough for a command's help."""

from __future__ import annotations

from dataclasses import dataclass

from coeffdream.errors import ConfigError, quoted, together
from coeffdream.limits import counts_out_of_range, rates_out_of_range
from coeffdream.option import option
from coeffdream.studies.vit_options import TASKS, WIDTH

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
        problems = counts_out_of_range(self, MOST) + rates_out_of_range(self, "lr")
        if problems:
            raise ConfigError(together("this makes no study", problems))


@dataclass(frozen=True)
class HeadsOptions:
    """The options of `study heads`."""

    heads: str = option("1,2,4,8,16,32", "Numbers of heads, comma-separated; each must divide --width.")
    width: int = option(512, "Channels of the layer that is timed, whatever its heads.")
    tokens: int = option(256, "Its tokens.")
    repeats: int = option(9, "Timings of each number of heads.")
    seeds: int = option(10, "Random starts of what one layer can express.")
    steps: int = option(1000, "Adam's steps of each.")
    task: str | None = option(
        None,
        f"Also pretrain a small vision transformer with each number of heads and tune it on this, of {', '.join(TASKS)}, "
        "with alpha and without; minutes each.",
        shown="no",
    )

    def check(self) -> None:
        """Raises ConfigError with everything that makes this no study."""
        most = {"width": 8192, "tokens": 8192, "repeats": 1000, "seeds": 1000, "steps": 100_000}
        problems = counts_out_of_range(self, most)
        parts = self.heads.split(",")
        if not all(part.strip().isascii() and part.strip().isdigit() for part in parts):
            problems.append(
                f"--heads {quoted(self.heads)} must be numbers with commas between, such as 1,2,4"
            )
        elif strange := [n for n in self.chosen_heads if not 0 < n <= MOST["heads"] or self.width % n]:
            problems.append(
                f"--heads {strange[0]} must be from 1 to {MOST['heads']} and divide --width {self.width}"
            )
        elif self.task is not None:
            if self.task not in TASKS:
                problems.append(f"--task {quoted(self.task)}: there are {', '.join(TASKS)}")
            if wide := [n for n in self.chosen_heads if WIDTH % n]:
                problems.append(f"--heads {wide[0]} must divide {WIDTH}, the channels of what --task tunes")
        if problems:
            raise ConfigError(together("this makes no study", problems))

    @property
    def chosen_heads(self) -> list[int]:
        return sorted({int(part) for part in self.heads.split(",")})
