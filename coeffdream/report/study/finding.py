"""What a comparison found, in words that go no further than its intervals and tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from coeffdream.compare.comparison import SIGNIFICANT
from coeffdream.compare.result import Comparison, Contrast, Difference, Estimate
from coeffdream.records.measures import MEASURES


@dataclass(frozen=True)
class Finding:
    """`headline`: one or two sentences without figures; `figures`: sentences with them; `limits`: what it is not."""

    headline: list[str]
    figures: list[str]
    limits: list[str]


def titled(metric: str) -> str:
    """As a heading, with a word where less is better."""
    measure = MEASURES[metric]
    return f"{measure.heading}{' (less is better)' if measure.less_is_better else ''}"


def signed(value: float, digits: int) -> str:
    """ "+0.006", "−0.055" with a true minus; never "−0.000"."""
    text = f"{abs(value):.{digits}f}"
    return ("+" if value >= 0 or not text.strip("0.") else "−") + text


def span(estimate: Estimate, digits: int) -> str:
    """ "[+0.002, +0.010]", or nothing."""
    return estimate.bounds(lambda value: signed(value, digits))


def excludes_zero(each: Difference) -> bool:
    low, high = each.difference.low, each.difference.high
    return low is not None and high is not None and (low > 0 or high < 0)


def holds_up(each: Difference) -> bool:
    """The interval excludes zero and the test, corrected for the number of metrics, rejects."""
    return excludes_zero(each) and each.p_holm <= SIGNIFICANT


def finding(comparison: Comparison) -> Finding:
    """Which metrics differ between a method and the one that it is compared with, and which do not."""
    by_metric = comparison.by_metric()
    firm: dict[tuple[str, str], list[Contrast]] = {}
    undecided: list[str] = []
    figures: list[str] = []
    open_figures: list[str] = []
    for metric, differences in by_metric.items():
        for contrast, each in differences:
            if not excludes_zero(each):
                continue
            if holds_up(each):
                way = "higher" if each.difference.value > 0 else "lower"
                firm.setdefault((metric, way), []).append(contrast)
                figures.append(_figures(each, contrast))
            else:
                undecided.append(metric)
                open_figures.append(
                    f"{_figures(each, contrast)} Its interval leaves out zero, "
                    "but the corrected test does not reject: undecided."
                )
    told = {metric for metric, _ in firm}
    return Finding(
        _headline(
            firm,
            [metric for metric in by_metric if metric in undecided and metric not in told],
            [metric for metric in by_metric if metric not in undecided and metric not in told],
            comparison.contrasts,
        ),
        figures + open_figures,
        _limits(comparison),
    )


def _figures(each: Difference, contrast: Contrast) -> str:
    digits = MEASURES[each.metric].digits + 1
    return (
        f"{titled(each.metric)}, {contrast.title}: "
        f"{signed(each.difference.value, digits)} {span(each.difference, digits)}, "
        f"Holm p {each.p_holm:.2g}, {100 * each.win_rate:.0f} % of {each.pairs:,} pairs won."
    )


def _headline(
    firm: dict[tuple[str, str], list[Contrast]],
    undecided: Sequence[str],
    quiet: Sequence[str],
    contrasts: Sequence[Contrast],
) -> list[str]:
    """The first sentence says what differs, the second what does not, as far as there is either."""
    ways: dict[str, list[str]] = {}
    for (metric, way), found in firm.items():
        ways.setdefault(metric, []).append(f"{way} {_than(found)}")
    parts = [f"{MEASURES[metric].words} is {' and '.join(each)}" for metric, each in ways.items()]
    said = [_sentence(parts)] if parts else []
    rest = []
    if quiet:
        baselines = {contrast.baseline for contrast in contrasts}
        whom = min(baselines) if len(baselines) == 1 else "the one that it is compared with"
        who = f"{contrasts[0].label} cannot be told from {whom}"
        if len(contrasts) > 1:
            who = f"no method can be told from {whom}"
        rest.append(f"{'on' if said else 'On'} {listed([MEASURES[metric].words for metric in quiet])} {who}")
    if undecided:
        rest.append(
            f"{listed([MEASURES[metric].words for metric in undecided])} {'are' if len(undecided) > 1 else 'is'} undecided"
        )
    if rest:
        said.append(_sentence(rest))
    elif sum(map(len, firm.values())) < len(ways) * len(contrasts):
        said.append("No other difference holds up.")
    return said


def _than(contrasts: Sequence[Contrast]) -> str:
    """ "with a and b than with c"."""
    by_baseline: dict[str, list[str]] = {}
    for contrast in contrasts:
        by_baseline.setdefault(contrast.baseline, []).append(contrast.label)
    return listed([f"with {listed(labels)} than with {whom}" for whom, labels in by_baseline.items()])


def _sentence(parts: Sequence[str]) -> str:
    line = "; ".join(parts)
    return f"{line[0].upper()}{line[1:]}."


def _limits(comparison: Comparison) -> list[str]:
    """How large the differences that were not found may still be, and what was not corrected for."""
    by_metric = comparison.by_metric()
    room = []
    for metric, differences in by_metric.items():
        bounds = [
            bound
            for _, each in differences
            if not excludes_zero(each)
            for bound in (each.difference.low, each.difference.high)
            if bound is not None
        ]
        if bounds:
            digits = MEASURES[metric].digits + 1
            room.append(
                f"{MEASURES[metric].words} {signed(min(bounds), digits)} to {signed(max(bounds), digits)}"
            )
    said = []
    if room:
        said.append(
            f"Not told apart is not equal: the intervals that hold zero leave room for these differences: "
            f"{listed(room)}."
        )
    if len(comparison.contrasts) > 1:
        said.append(
            f"p is corrected for the {len(by_metric)} metrics of one comparison, "
            f"not for the {len(comparison.contrasts)} comparisons."
        )
    return said


def listed(items: Sequence[str]) -> str:
    """ "a, b and c"."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
