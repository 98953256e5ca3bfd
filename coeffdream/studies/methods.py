"""Alpha beside methods of PEFT's: which are compared, with what options, and what the pairs say."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from coeffdream.compare.result import Comparison, Contrast
from coeffdream.errors import ConfigError, counted, quoted, together
from coeffdream.limits import counts_out_of_range, rates_out_of_range
from coeffdream.methods import method_problems, plain_method
from coeffdream.option import option

DEFAULT = ("lora", "oft", "boft", "hra", "loha", "lokr", "ia3", "delora")
# PEFT's own defaults, but where they are for wider layers than the toybox has.
OPTIONS = {
    "c3a": ["block_size=8"],
    "fourierft": ["n_frequency=200"],
    "miss": ["r=8"],
    "oft": ["oft_block_size=8"],
    "psoft": ["r=8"],
    "road": ["group_size=8"],
    "shira": ["r=2"],
    "vblora": ["vector_length=8", "num_vectors=64"],
    "waveft": ["n_frequency=200"],
}
MOST = {"seeds": 1000, "steps": 100_000, "images_per_prompt": 10_000, "jobs": 1000}


@dataclass(frozen=True)
class MethodsOptions:
    """The options of `study methods`. Every arm has the learning rate of the base, or the one given."""

    concepts: str = option(
        "cat,teapot,robot", "Folders of photos or shipped concepts, comma-separated; three make an interval."
    )
    methods: str = option(
        ",".join(DEFAULT), "Methods, comma-separated; each is trained alone and beside alpha."
    )
    seeds: int = option(1, "Training seeds of each arm on each concept.")
    steps: int = option(80, "Training steps.")
    lr: float | None = option(None, "Learning rate of every arm.", shown="the toybox's")
    images_per_prompt: int = option(1, "Pictures of each of the 25 prompts.")
    jobs: int = option(2, "Cells at a time; each gets its share of the cores.")

    @property
    def chosen(self) -> list[str]:
        return [name.strip() for name in self.methods.split(",")]

    @property
    def arms(self) -> dict[str, dict[str, Any]]:
        """Of each arm its training options; the method alone before it beside alpha."""
        return {
            f"{before}{name}": {
                "method": f"{before}{name}",
                **({"method_option": OPTIONS[name]} if name in OPTIONS else {}),
                **({"against": name} if before else {}),
            }
            for name in self.chosen
            for before in ("", "coeff-")
        }

    @property
    def arms_text(self) -> str:
        """The same as a file for `bench concepts --arms`: JSON's strings and lists are TOML's."""
        tables = [
            "\n".join([f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in arm.items())])
            for name, arm in self.arms.items()
        ]
        return "\n\n".join(tables) + "\n"

    def check(self) -> None:
        """Raises ConfigError with everything that makes this no study."""
        problems = [
            f"--methods {quoted(name)} is no method beside which alpha could be put"
            for name in self.chosen
            if method_problems(name, []) or plain_method(name) != name
        ]
        problems += [
            f"--methods names {name} twice" for name in {*self.chosen} if self.chosen.count(name) > 1
        ]
        problems += counts_out_of_range(self, MOST) + rates_out_of_range(self, "lr")
        if problems:
            raise ConfigError(together("this makes no study", problems))


def pairs(comparison: Comparison) -> Iterator[Contrast]:
    """Each method beside alpha less the method alone."""
    yield from (each for each in comparison.contrasts if each.label == f"coeff-{each.baseline}")


def finding(contrasts: Sequence[Contrast]) -> list[str]:
    """What the pairs say of each metric, one line each: how many intervals leave zero out, and on which side."""
    lines = []
    for metric in dict.fromkeys(each.metric for contrast in contrasts for each in contrast.differences):
        found = [each for contrast in contrasts for each in contrast.differences if each.metric == metric]
        higher = sum(each.difference.value > 0 for each in found)
        line = f"{metric}: with alpha higher beside {higher} of {counted(len(found), 'method')}"
        known = [each.difference for each in found if each.difference.low is not None]
        if not known:
            lines.append(f"{line}; fewer than three concepts make no interval")
            continue
        above = sum(1 for each in known if each.low is not None and each.low > 0)
        below = sum(1 for each in known if each.high is not None and each.high < 0)
        lines.append(f"{line}; the interval is above zero for {above} and below for {below}")
    return lines
