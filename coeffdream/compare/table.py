"""The comparison as a person reads it: the layout of the paper's Table 3, and the differences beneath."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table
from rich.text import Text

from coeffdream.compare.comparison import SIGNIFICANT, Comparison, Contrast, Estimate
from coeffdream.compare.metrics import DIGITS, DRIFT, TITLES

# The columns of the paper's Table 3. Drift stands beside them; DINO alignment is only among the differences.
TABLE3 = ("text_alignment", "concept_alignment", "diversity")


def comparison_table(comparison: Comparison) -> Group:
    """Table 3 with intervals, one table of differences for each group but the baseline, and the notes."""
    return Group(
        _table3(comparison),
        *(_differences(contrast) for contrast in comparison.contrasts),
        *(Text(line) for line in caption(comparison)),
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
        f"[95 % interval] over {over}; {comparison.resamples} resamples, seed {comparison.seed}; "
        + ", ".join(comparison.encoders.values()),
        *(f"note: {note}" for note in comparison.notes),
    ]


def percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def with_interval(estimate: Estimate, digits: int, *, signed: bool = False) -> str:
    """ "0.331 [0.320, 0.342]"; the value alone where there is no interval."""
    sign = "+" if signed else ""
    value = f"{estimate.value:{sign}.{digits}f}"
    if estimate.low is None or estimate.high is None:
        return value
    return f"{value} [{estimate.low:{sign}.{digits}f}, {estimate.high:{sign}.{digits}f}]"


def first_column(comparison: Comparison) -> str:
    return "method" if comparison.grouped else "run"


def _table3(comparison: Comparison) -> Table:
    table = Table(title_justify="left", pad_edge=False)
    table.add_column(first_column(comparison), overflow="fold")
    table.add_column("# Params (%)", justify="right")
    drifts = any(DRIFT.name in row.scores for row in comparison.rows)
    columns = (*TABLE3, DRIFT.name) if drifts else TABLE3
    for name in columns:
        table.add_column(TITLES[name], justify="right")
    for row in comparison.rows:
        cells = (
            with_interval(row.scores[name], DIGITS[name]) if name in row.scores else "-" for name in columns
        )
        table.add_row(row.label, percent(row.percent), *cells)
    return table


def _differences(contrast: Contrast) -> Table:
    title = f"{contrast.label} less {contrast.baseline}"
    table = Table(title=title, title_justify="left", pad_edge=False)
    table.add_column("metric", no_wrap=True)
    for column in ("difference", "wins", "p", "p (Holm)"):
        table.add_column(column, justify="right")
    for each in contrast.differences:
        table.add_row(
            TITLES[each.metric] + (" (less is better)" if each.metric == DRIFT.name else ""),
            with_interval(each.difference, DIGITS[each.metric] + 1, signed=True),
            f"{100 * each.win_rate:.0f} % of {each.pairs}",
            f"{each.p:.3g}",
            f"{each.p_holm:.3g}",
            style="bold" if each.p_holm <= SIGNIFICANT else None,
        )
    return table
