"""Where the differences stand on their scales: the forest plot, and each concept's own difference."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from coeffdream.compare.result import Comparison, Difference
from coeffdream.records.measures import MEASURES
from coeffdream.report.plots import nice_ticks
from coeffdream.report.study.finding import holds_up, signed, span, titled

MARKS = 8  # that study.css has beside the first's


@dataclass(frozen=True)
class Scale:
    """A span of values that holds zero. Places on it are in percent from its left."""

    low: float
    high: float
    ticks: list[tuple[str, float]]

    def at(self, value: float) -> float:
        return 100 * (value - self.low) / (self.high - self.low)

    @property
    def zero(self) -> float:
        return self.at(0.0)


@dataclass(frozen=True)
class Bar:
    """One method's difference from another. `method` numbers the methods, the first being 0."""

    method: int
    label: str
    low: float | None
    at: float
    high: float | None
    value: str
    interval: str
    p: str
    wins: str
    firm: bool


@dataclass(frozen=True)
class Forest:
    """One metric's differences, all methods on one scale."""

    metric: str
    name: str
    scale: Scale
    bars: list[Bar]


@dataclass(frozen=True)
class Dot:
    method: int
    label: str
    value: str
    at: float


@dataclass(frozen=True)
class ConceptPlot:
    """One metric: a row of dots for each concept; `without` says how the mean moves without any one of them."""

    metric: str
    name: str
    scale: Scale
    rows: list[tuple[str, list[Dot]]]
    without: list[tuple[int, str, str]]


def scale(values: Iterable[float]) -> Scale:
    """Round ticks, a little room at both ends, and zero inside."""
    known = [0.0, *values]
    low, high = min(known), max(known)
    if high <= low:
        low, high = -1.0, 1.0
    room = 0.06 * (high - low)
    step = nice_ticks(0.0, high - low)[1]
    low, high = low - room, high + room
    digits = max(0, next(d for d in range(12) if abs(round(step, d) - step) < 1e-9 * step))
    bare = Scale(low, high, [])
    marks = [index * step for index in range(int(low / step) - 1, int(high / step) + 2)]
    shown = [mark for mark in marks if 3 <= bare.at(mark) <= 97]
    return Scale(low, high, [(signed(mark, digits) if mark else "0", bare.at(mark)) for mark in shown])


def forests(comparison: Comparison) -> list[Forest]:
    """A plot for each metric, in the order of the comparison."""
    found = []
    for metric, differences in comparison.by_metric().items():
        ends = [
            value
            for _, each in differences
            for value in (each.difference.low, each.difference.value, each.difference.high)
            if value is not None
        ]
        on, digits = scale(ends), MEASURES[metric].digits + 1
        bars = [
            Bar(
                mark_of(number),
                contrast.title,
                None if each.difference.low is None else on.at(each.difference.low),
                on.at(each.difference.value),
                None if each.difference.high is None else on.at(each.difference.high),
                signed(each.difference.value, digits),
                span(each.difference, digits),
                f"{each.p_holm:.2g}",
                f"{100 * each.win_rate:.0f} %",
                holds_up(each),
            )
            for number, (contrast, each) in enumerate(differences, start=1)
        ]
        found.append(Forest(metric, titled(metric), on, bars))
    return found


def mark_of(place: int) -> int:
    """The colour and mark of the method at this place among the rows: the first has one of its own, the others in turn."""
    return (place - 1) % MARKS + 1 if place else 0


def concept_plots(comparison: Comparison) -> list[ConceptPlot]:
    """A plot for each metric, in the order of the comparison; none for a single concept."""
    if len(comparison.concepts) < 2:
        return []
    found = []
    for metric, differences in comparison.by_metric().items():
        on, digits = (
            scale(v for _, each in differences for v in each.by_concept.values()),
            MEASURES[metric].digits + 1,
        )
        rows = [
            (
                concept,
                [
                    Dot(
                        mark_of(number),
                        contrast.title,
                        signed(each.by_concept[concept], digits),
                        on.at(each.by_concept[concept]),
                    )
                    for number, (contrast, each) in enumerate(differences, start=1)
                ],
            )
            for concept in comparison.concepts
        ]
        without = [
            (mark_of(number), contrast.title, _one_left_out(each, digits))
            for number, (contrast, each) in enumerate(differences, start=1)
        ]
        found.append(ConceptPlot(metric, titled(metric), on, rows, without))
    return found


def _one_left_out(each: Difference, digits: int) -> str:
    """The range of the mean over concepts when any one of them is left out."""
    values = list(each.by_concept.values())
    means = [(sum(values) - value) / (len(values) - 1) for value in values]
    return f"{signed(min(means), digits)} to {signed(max(means), digits)}"
