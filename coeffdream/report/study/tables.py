"""Table 3 of a study with its floor and ceiling, and every concept's own scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from coeffdream.compare.comparison_table import percent
from coeffdream.compare.result import Comparison, Estimate
from coeffdream.records.measures import DIVERSITY, MEASURES, TABLE3
from coeffdream.records.scores import Summary
from coeffdream.report.study.cells import Finished


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


def table3(comparison: Comparison, cells: Sequence[Finished]) -> list[Row]:
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
    for kind, label in (("floor", "untouched base"), ("ceiling", "photos among themselves")):
        found = _summaries(cells, comparison.concepts, kind)
        if len(found) == len(comparison.concepts):
            rows.append(
                Row(kind, label, "–", [_mean(list(found.values()), name, comparison.n) for name in names])
            )
    return rows


def concept_tables(comparison: Comparison, cells: Sequence[Finished]) -> list[ConceptTable]:
    """One for each metric."""
    ends = {
        label: _summaries(cells, comparison.concepts, kind)
        for kind, label in (("floor", "untouched base"), ("ceiling", "photos"))
    }
    tables = []
    for name in metrics_of(comparison):
        shown = {
            label: found
            for label, found in ends.items()
            if found and any(_value(summary, name, comparison.n) is not None for summary in found.values())
        }
        rows = []
        for concept in comparison.concepts:
            values = [row.by_concept[name][concept] for row in comparison.rows if name in row.by_concept]
            said = [MEASURES[name].show(value) for value in values]
            for found in shown.values():
                value = _value(found[concept], name, comparison.n) if concept in found else None
                said.append("–" if value is None else MEASURES[name].show(value))
            rows.append((concept, said))
        labels = [row.label for row in comparison.rows if name in row.by_concept]
        tables.append(ConceptTable(MEASURES[name].title, [*labels, *shown], rows))
    return tables


def _summaries(cells: Sequence[Finished], concepts: Sequence[str], kind: str) -> dict[str, Summary]:
    """Each concept's floor or ceiling: equal in all cells of the concept that have it, so the first."""
    found: dict[str, Summary] = {}
    for cell in cells:
        summary = getattr(cell.scored.scores, kind)
        if summary is not None and cell.scored.concept in concepts:
            found.setdefault(cell.scored.concept, summary)
    return {concept: found[concept] for concept in concepts if concept in found}


def _value(summary: Summary, name: str, n: int) -> float | None:
    """Diversity only of equally many pictures: it grows with their number."""
    if name == DIVERSITY.name and summary.n != n:
        return None
    return getattr(summary, name, None)


def _mean(summaries: Sequence[Summary], name: str, n: int) -> tuple[str, str, str]:
    values = [_value(summary, name, n) for summary in summaries]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        other = name == DIVERSITY.name and all(summary.n != n for summary in summaries)
        return "–", "", f"n differs: not {n}" if other else ""
    return MEASURES[name].show(float(np.mean(known))), "", ""


def _with_interval(estimate: Estimate | None, name: str) -> tuple[str, str, str]:
    if estimate is None:
        return "–", "", ""
    show = MEASURES[name].show
    return show(estimate.value), estimate.bounds(show), ""
