"""What a comparison found, in words that go no further than its intervals and tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from coeffdream.compare.comparison import SIGNIFICANT, Comparison, Difference, Estimate
from coeffdream.compare.metrics import DIGITS, DRIFT, MEANS, TITLES

WORDS = {
    "text_alignment": "text alignment",
    "concept_alignment": "concept alignment",
    "dino_alignment": "DINO alignment",
    "diversity": "diversity",
    "drift": "drift on unrelated prompts",
}
LESS_IS_BETTER = {metric.name for metric in (*MEANS, DRIFT) if metric.less_is_better}


@dataclass(frozen=True)
class Finding:
    """`headline`: one or two sentences without figures; `figures`: sentences with them; `limits`: what it is not."""

    headline: list[str]
    figures: list[str]
    limits: list[str]


def words(metric: str) -> str:
    return WORDS.get(metric, TITLES.get(metric, metric.replace("_", " ")))


def titled(metric: str) -> str:
    """As a heading, with a word where less is better."""
    name = words(metric)
    return f"{name[0].upper()}{name[1:]}{' (less is better)' if metric in LESS_IS_BETTER else ''}"


def signed(value: float, digits: int) -> str:
    """ "+0.006", "−0.055" with a true minus; never "−0.000"."""
    text = f"{abs(value):.{digits}f}"
    return ("+" if value >= 0 or not text.strip("0.") else "−") + text


def span(estimate: Estimate, digits: int) -> str:
    """ "[+0.002, +0.010]", or nothing."""
    if estimate.low is None or estimate.high is None:
        return ""
    return f"[{signed(estimate.low, digits)}, {signed(estimate.high, digits)}]"


def excludes_zero(each: Difference) -> bool:
    low, high = each.difference.low, each.difference.high
    return low is not None and high is not None and (low > 0 or high < 0)


def holds_up(each: Difference) -> bool:
    """The interval excludes zero and the test, corrected for the number of metrics, rejects."""
    return excludes_zero(each) and each.p_holm <= SIGNIFICANT


def finding(comparison: Comparison) -> Finding:
    """Which metrics differ between the first method and the others, and which do not."""
    baseline = comparison.rows[0].label
    others = [contrast.label for contrast in comparison.contrasts]
    metrics = [each.metric for each in comparison.contrasts[0].differences]
    firm: dict[tuple[str, str], list[str]] = {}
    undecided: list[str] = []
    figures: list[str] = []
    open_figures: list[str] = []
    for metric in metrics:
        for contrast in comparison.contrasts:
            each = next((one for one in contrast.differences if one.metric == metric), None)
            if each is None or not excludes_zero(each):
                continue
            if holds_up(each):
                way = "higher" if each.difference.value > 0 else "lower"
                firm.setdefault((metric, way), []).append(contrast.label)
                figures.append(_figures(each, contrast.label))
            else:
                undecided.append(metric)
                open_figures.append(
                    f"{_figures(each, contrast.label)} Its interval leaves out zero, "
                    "but the corrected test does not reject: undecided."
                )
    told = {metric for metric, _ in firm}
    return Finding(
        _headline(
            firm,
            [metric for metric in metrics if metric in undecided and metric not in told],
            [metric for metric in metrics if metric not in undecided and metric not in told],
            baseline,
            others,
        ),
        figures + open_figures,
        _limits(comparison, metrics, baseline),
    )


def _figures(each: Difference, label: str) -> str:
    digits = DIGITS[each.metric] + 1
    return (
        f"{titled(each.metric)} with {label}: "
        f"{signed(each.difference.value, digits)} {span(each.difference, digits)}, "
        f"Holm p {each.p_holm:.2g}, {100 * each.win_rate:.0f} % of {each.pairs:,} pairs won."
    )


def _headline(
    firm: dict[tuple[str, str], list[str]],
    undecided: Sequence[str],
    quiet: Sequence[str],
    baseline: str,
    others: Sequence[str],
) -> list[str]:
    """The first sentence says what differs, the second what does not, as far as there is either."""
    ways: dict[str, list[str]] = {}
    for (metric, way), labels in firm.items():
        ways.setdefault(metric, []).append(f"{way} with {listed(labels)}")
    parts = [f"{words(metric)} is {' and '.join(each)}" for metric, each in ways.items()]
    said = [f"Against {baseline}, {'; '.join(parts)}."] if parts else []
    rest = []
    if quiet:
        who = f"{listed(others)} cannot be told from {baseline}"
        if len(others) > 1:
            who = f"no method can be told from {baseline}"
        rest.append(f"{'on' if said else 'On'} {listed([words(metric) for metric in quiet])} {who}")
    if undecided:
        rest.append(
            f"{listed([words(metric) for metric in undecided])} {'are' if len(undecided) > 1 else 'is'} undecided"
        )
    if rest:
        line = "; ".join(rest)
        said.append(f"{line[0].upper()}{line[1:]}.")
    elif sum(map(len, firm.values())) < len(ways) * len(others):
        said.append("No other difference holds up.")
    return said


def _limits(comparison: Comparison, metrics: Sequence[str], baseline: str) -> list[str]:
    """How large the differences that were not found may still be, and what was not corrected for."""
    room = []
    for metric in metrics:
        bounds = [
            bound
            for contrast in comparison.contrasts
            for each in contrast.differences
            if each.metric == metric and not excludes_zero(each)
            for bound in (each.difference.low, each.difference.high)
            if bound is not None
        ]
        if bounds:
            digits = DIGITS[metric] + 1
            room.append(f"{words(metric)} {signed(min(bounds), digits)} to {signed(max(bounds), digits)}")
    said = []
    if room:
        said.append(
            f"Not told apart is not equal: the intervals that hold zero leave room for these differences from "
            f"{baseline}: {listed(room)}."
        )
    if len(comparison.contrasts) > 1:
        said.append(
            f"p is corrected for the {len(metrics)} metrics of one comparison, "
            f"not for the {len(comparison.contrasts)} comparisons with {baseline}."
        )
    return said


def listed(items: Sequence[str], word: str = "and") -> str:
    """ "a, b and c"."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {word} {items[-1]}"
