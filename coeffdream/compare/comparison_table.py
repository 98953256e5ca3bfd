"""The comparison as a person reads it: the layout of the paper's Table 3, and the differences beneath."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table
from rich.text import Text

from coeffdream.compare.comparison import SIGNIFICANT
from coeffdream.compare.result import Comparison, Contrast, Estimate
from coeffdream.records.made import by_model
from coeffdream.records.measures import DRIFT, MEASURES, TABLE3
from coeffdream.tables import table


def comparison_table(comparison: Comparison) -> Group:
    """Table 3 with intervals, one table of differences for each group but the first, and the notes."""
    less = [
        f"less {MEASURES[metric].title.lower()} is better, and wins"
        for metric in comparison.by_metric()
        if MEASURES[metric].less_is_better
    ]
    return Group(
        _table3(comparison),
        *(_differences(contrast) for contrast in comparison.contrasts),
        *(Text(line) for line in [*less, *caption(comparison)]),
    )


def caption(comparison: Comparison) -> list[str]:
    """What was compared, and what the numbers cannot say. The label of embedded scorers comes first."""
    several = len(comparison.concepts) > 1
    over = "concepts, prompts and images" if several else "prompts and images of this concept"
    seeds = ", ".join(map(str, comparison.training_seeds))
    label = [comparison.label] if comparison.label else []
    return [
        *label,
        f"concepts: {', '.join(comparison.concepts)}; training seeds: {seeds}; n = {comparison.n} pictures a run "
        f"({comparison.prompts} prompts x {comparison.images_per_prompt})",
        f"95 % intervals over {over}; {comparison.resamples} resamples, seed {comparison.seed}",
        *by_model(comparison.encoders, (MEASURES[metric] for metric in _metrics(comparison))),
        *(f"note: {note}" for note in comparison.notes),
    ]


def _metrics(comparison: Comparison) -> list[str]:
    return list(dict.fromkeys(metric for row in comparison.rows for metric in row.scores))


def percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _own(estimate: Estimate, digits: int) -> str:
    """ "0.331", and in the next line "± 0.011": the intervals are symmetric. Five columns of it fit a terminal."""
    value = f"{estimate.value:.{digits}f}"
    if estimate.low is None or estimate.high is None:
        return value
    return f"{value}\n± {(estimate.high - estimate.low) / 2:.{digits}f}"


def _difference(estimate: Estimate, digits: int) -> str:
    """ "+0.031 [+0.020, +0.042]": whether it holds zero is to be seen at once."""
    show = f"{{:+.{digits}f}}".format
    return f"{show(estimate.value)} {estimate.bounds(show)}".rstrip()


def _has_drift(comparison: Comparison) -> bool:
    return any(DRIFT.name in row.scores for row in comparison.rows)


def first_column(comparison: Comparison) -> str:
    return "method" if comparison.grouped else "run"


def _table3(comparison: Comparison) -> Table:
    rows = table()
    rows.add_column(first_column(comparison), overflow="fold")
    rows.add_column("# Params\n(%)", justify="right")
    # The others are only among the differences.
    columns = (*TABLE3, DRIFT) if _has_drift(comparison) else TABLE3
    for measure in columns:
        rows.add_column(measure.title.replace(" ", "\n"), justify="right", no_wrap=True)
    for row in comparison.rows:
        cells = (
            _own(row.scores[measure.name], measure.digits) if measure.name in row.scores else "-"
            for measure in columns
        )
        rows.add_row(row.label, percent(row.percent), *cells)
    for end in comparison.ends:
        means = ((measure, end.mean(measure.name, comparison.concepts)) for measure in columns)
        shown = ["-" if mean is None else measure.show(mean) for measure, mean in means]
        if any(cell != "-" for cell in shown):
            rows.add_row(end.label, "-", *shown, style="dim")
    return rows


def _differences(contrast: Contrast) -> Table:
    rows = table(contrast.title)
    rows.add_column("metric", no_wrap=True)
    for column in ("difference", "wins", "p", "p (Holm)"):
        rows.add_column(column, justify="right")
    for each in contrast.differences:
        rows.add_row(
            MEASURES[each.metric].title,
            _difference(each.difference, MEASURES[each.metric].digits + 1),
            f"{100 * each.win_rate:.0f} % of {each.pairs}",
            f"{each.p:.3g}",
            f"{each.p_holm:.3g}",
            style="bold" if each.p_holm <= SIGNIFICANT else None,
        )
    return rows
