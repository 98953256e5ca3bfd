"""Table 3 of a study with its floor and ceiling, and every concept's own scores."""

from __future__ import annotations

from dataclasses import dataclass

from coeffdream.compare.comparison_table import percent
from coeffdream.compare.ends import FLOOR
from coeffdream.compare.result import Comparison, Estimate
from coeffdream.records.measures import DIVERSITY, MEASURES, TABLE3


@dataclass(frozen=True)
class Row:
    """`kind` is "method", "floor" or "ceiling"; `cells`: (value, interval or "", note or "")."""

    kind: str
    label: str
    percent: str
    cells: list[tuple[str, str, str]]


@dataclass(frozen=True)
class ConceptTable:
    """One metric: concepts down, methods across, then floor and ceiling where there are any."""

    title: str
    headings: list[str]
    rows: list[tuple[str, list[str]]]


def metrics_of(comparison: Comparison) -> list[str]:
    """The paper's three first, then the others that were measured."""
    measured, first = comparison.rows[0].scores, [measure.name for measure in TABLE3]
    return [*(name for name in first if name in measured), *(name for name in measured if name not in first)]


def headings(comparison: Comparison) -> list[str]:
    return [MEASURES[name].title for name in metrics_of(comparison)]


def table3(comparison: Comparison) -> list[Row]:
    """A row for each method, with intervals; the untouched base and the photos among themselves beneath."""
    names = metrics_of(comparison)
    rows = [
        Row(
            "method",
            row.label,
            percent(row.percent),
            [_with_interval(row.scores.get(name), name) for name in names],
        )
        for row in comparison.rows
    ]
    for end in comparison.ends:
        means = [(name, end.mean(name, comparison.concepts)) for name in names]
        if any(mean is not None for _, mean in means):
            cells = [_mean(name, mean, comparison.n) for name, mean in means]
            rows.append(Row("floor" if end.label == FLOOR else "ceiling", end.label, "–", cells))
    return rows


def concept_tables(comparison: Comparison) -> list[ConceptTable]:
    """One for each metric."""
    tables = []
    for name in metrics_of(comparison):
        show = MEASURES[name].show
        shown = {end.label: end.by_concept[name] for end in comparison.ends if name in end.by_concept}
        measured = [row for row in comparison.rows if name in row.by_concept]
        rows = []
        for concept in comparison.concepts:
            said = [show(row.by_concept[name][concept]) for row in measured]
            said += [show(found[concept]) if concept in found else "–" for found in shown.values()]
            rows.append((concept, said))
        labels = [row.label for row in measured]
        tables.append(ConceptTable(MEASURES[name].title, [*labels, *shown], rows))
    return tables


def _mean(name: str, mean: float | None, n: int) -> tuple[str, str, str]:
    if mean is not None:
        return MEASURES[name].show(mean), "", ""
    return "–", "", f"n differs: not {n}" if name == DIVERSITY.name else ""


def _with_interval(estimate: Estimate | None, name: str) -> tuple[str, str, str]:
    if estimate is None:
        return "–", "", ""
    show = MEASURES[name].show
    return show(estimate.value), estimate.bounds(show), ""
