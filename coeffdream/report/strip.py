"""Where scores stand on their scale: round ticks, the interval, and what the run compares to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from coeffdream.compare.result import Estimate
from coeffdream.records.measures import DIVERSITY, Measure
from coeffdream.report.plots import nice_ticks

NAMES = {"run": "this run", "floor": "untouched base", "ceiling": "photos"}
# A strip is no shorter than this, so that a hair's breadth does not look like a gulf.
LEAST_COSINE, LEAST_PICTURES = 0.1, 2.0


@dataclass(frozen=True)
class Mark:
    """A value on the strip. `kind`: "run", "floor" or "ceiling"."""

    kind: str
    name: str
    value: str
    at: float


@dataclass(frozen=True)
class Strip:
    """Places are in percent from the left. `low`, `high`: the ends of the run's interval, None without one."""

    ticks: list[tuple[str, float]]
    marks: list[Mark]
    low: float | None
    high: float | None


def strip(measure: Measure, values: Mapping[str, float], estimate: Estimate | None) -> Strip:
    """values: by kind, as `Mark` has them."""
    ends = (estimate.low, estimate.high) if estimate else (None, None)
    known = [*values.values(), *(end for end in ends if end is not None)]
    low, high = min(known), max(known)
    least = LEAST_PICTURES if measure is DIVERSITY else LEAST_COSINE
    if (lacking := least - (high - low)) > 0:
        low, high = (max(low - lacking / 2, 0.0) if low >= 0 else low - lacking / 2), high + lacking / 2
    ticks = nice_ticks(low, high)

    def at(value: float) -> float:
        return 100 * (value - ticks[0]) / (ticks[-1] - ticks[0])

    return Strip(
        [(f"{tick:.6g}", at(tick)) for tick in ticks],
        [Mark(kind, NAMES[kind], measure.show(value), at(value)) for kind, value in values.items()],
        *(None if end is None else at(end) for end in ends),
    )
