"""The scores as a table that a person reads in five seconds. Rich only, no torch."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Group
from rich.text import Text

from coeffdream.records.scores import Drift, ScoresRecord, Summary
from coeffdream.tables import table

Row = tuple[str, Callable[[Summary], float | None], int, str]

ROWS: tuple[Row, ...] = (
    ("text alignment", lambda s: s.text_alignment, 3, "shows the prompt"),
    ("concept alignment", lambda s: s.concept_alignment, 3, "is the thing, to CLIP"),
    ("diversity", lambda s: s.diversity, 2, "pictures that differ"),
    ("  within a prompt", lambda s: s.within_prompt, 2, "of one prompt"),
    ("DINO alignment", lambda s: s.dino_alignment, 3, "is the thing, to DINO"),
    ("nearest photo", lambda s: s.nearest_mean, 3, "above photos': copied"),
    ("  95th percentile", lambda s: s.nearest_p95, 3, "the closest pictures"),
)


def scores_table(record: ScoresRecord) -> Group:
    """One row a metric: score, floor (untouched base), ceiling (photos among themselves), meaning."""
    scores = table(f"{record.source['name']}, set {record.set['name']}")
    scores.add_column("metric", no_wrap=True)
    scores.add_column(_heading("score", record.overall), justify="right", style="bold")
    if record.floor is not None:
        scores.add_column(_heading("untouched\nbase", record.floor), justify="right")
    if record.ceiling is not None:
        scores.add_column(_heading("photos\nthemselves", record.ceiling), justify="right")
    scores.add_column("what it means", style="dim")
    columns = [part for part in (record.overall, record.floor, record.ceiling) if part is not None]
    for name, value, digits, meaning in ROWS:
        cells = ["-" if value(part) is None else f"{value(part):.{digits}f}" for part in columns]
        if cells[0] != "-":
            scores.add_row(name, *cells, meaning)
    for name, own, base, meaning in _drift_rows(record.drift) if record.drift else ():
        cells = [own, *([base] if record.floor else []), *(["-"] if record.ceiling else [])]
        scores.add_row(name, *cells, meaning)
    return Group(scores, *(Text(note) for note in _notes(record)))


def _drift_rows(drift: Drift) -> list[tuple[str, str, str, str]]:
    """Of pictures of their own number, which stands beside the name."""
    text = f"{drift.text_alignment:.3f}", f"{drift.base_text_alignment:.3f}"
    return [
        (f"drift (n = {drift.n})", f"{drift.dino:.3f}", "-", "other things, to DINO"),
        ("  to CLIP", f"{drift.clip:.3f}", "-", "0: as the base's"),
        ("  text alignment", *text, f"{drift.text_change:+.3f} by the adapter"),
    ]


def _heading(name: str, summary: Summary) -> str:
    return f"{name}\nn = {summary.n}"


def _notes(record: ScoresRecord) -> list[str]:
    label = [record.label] if record.label else []
    return [
        *label,
        f"{record.encoders['clip']['name']}, {record.encoders['dino']['name']}; diversity grows with n",
    ]
