"""The cheapest way of a training that fits into so much memory.

Nothing here changes what is learned but the precision of the base: neither the resolution, nor the method, nor
how many photos make a step.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, replace

from coeffdream.backbones.base import Base
from coeffdream.backbones.footprint import NOT_COUNTED, Phase
from coeffdream.config import TrainConfig
from coeffdream.errors import ConfigError
from coeffdream.training.forecast import Forecast

GIB = 1 << 30


@dataclass(frozen=True)
class Fitted:
    """A training that fits, its phases, and of each option that was chosen for that what it costs."""

    config: TrainConfig
    phases: list[Phase]
    costs: list[str]


def fit(config: TrainConfig, base: Base, gigabytes: float, typed: Container[str]) -> Fitted:
    """Choose for a settled config. typed: the options that a person chose, and that stay; a batch may still be split.

    gigabytes: of the whole device, as cards are sold (GiB). Raises ConfigError with the least that it could be.
    """
    budget = gigabytes * GIB - NOT_COUNTED
    for precise in _precisions(config, typed):
        forecast = Forecast(base, precise)
        chosen = _first(_pictures(precise, typed), forecast.phases, _all_but_the_step, budget)
        chosen = chosen and _first(_steps(chosen, typed), forecast.phases, _the_step, budget)
        if chosen:
            return Fitted(chosen, forecast.phases(chosen), _costs(config, chosen))
    *_, frugal = _pictures(precise, typed)
    *_, frugal = _steps(frugal, typed)
    largest = max(forecast.phases(frugal), key=lambda each: each.total)
    raise ConfigError(
        f"--fit {gigabytes:g}: this training takes at least {(largest.total + NOT_COUNTED) / GIB:.1f} GB, in the phase "
        f"{largest.name!r}, of which {NOT_COUNTED / GIB:g} GB is for what no forecast counts; a smaller --resolution "
        "takes less, and is yours to choose"
    )


def _first(
    configs: Iterable[TrainConfig],
    phases: Callable[[TrainConfig], list[Phase]],
    concerned: Callable[[list[Phase]], list[Phase]],
    budget: float,
) -> TrainConfig | None:
    fitting = (each for each in configs if all(one.total <= budget for one in concerned(phases(each))))
    return next(fitting, None)
