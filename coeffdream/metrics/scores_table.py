"""The scores as a table that a person reads in five seconds. Rich only, no torch."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from coeffdream.errors import counted
from coeffdream.records import measures
from coeffdream.records.made import made_by
from coeffdream.records.measures import Measure
from coeffdream.records.scores import OVERESTIMATES, UNMASKED, Drift, ScoresRecord, Summary, of_concept
from coeffdream.tables import table

# A narrow name, where the measure's own words would not fit 80 columns; and what the score means.
ROWS: tuple[tuple[str, Measure, str], ...] = (
    ("text alignment", measures.TEXT_ALIGNMENT, "shows the prompt"),
    ("concept alignment", measures.CONCEPT_ALIGNMENT, "is the thing, to CLIP"),
    ("diversity", measures.DIVERSITY, "pictures that differ"),
    ("  within a prompt", measures.WITHIN_PROMPT, "of one prompt"),
    ("DINO alignment", measures.DINO_ALIGNMENT, "is the thing, to DINO"),
    ("subject alignment", measures.SUBJECT_ALIGNMENT, "whatever is around it"),
    ("background leak", measures.BACKGROUND_LEAK, "less is better"),
    ("nearest photo", measures.NEAREST_MEAN, "above photos': copied"),
    ("  95th percentile", measures.NEAREST_P95, "the closest pictures"),
    ("DINO ViT-S/16", measures.DINO_VITS16_ALIGNMENT, "as DreamBooth scores"),
    ("PickScore", measures.PICKSCORE, "what people prefer"),
    ("VQAScore", measures.VQA_SCORE, "shows the prompt"),
)

AGAINST_PHOTOS = tuple(row for row in ROWS if row[1] in (*measures.LIKENESS, *measures.COPYING))
# Where photos were held out: how like the pictures are to those that were learned, and whether they copy them.
LEARNED = "  learned photos"


def scores_table(record: ScoresRecord) -> Group:
    """One row a metric: score, floor (untouched base), ceiling (photos among themselves), meaning; and for each of
    several things drawn together such a table of its scores against photos."""
    concepts = [
        _table(
            f"{concept.placeholder}: {concept.name}, where a prompt names it",
            of_concept(record, concept),
            AGAINST_PHOTOS,
        )
        for concept in record.concepts
    ]
    whole = _table(f"{record.source.name}, set {record.set.name}", record, ROWS)
    return Group(whole, *concepts, *(Text(note) for note in _notes(record)))


def _table(title: str, record: ScoresRecord, rows: Sequence[tuple[str, Measure, str]]) -> Table:
    scores = table(title)
    scores.add_column("metric", no_wrap=True)
    scores.add_column(_heading("score", record.overall), justify="right", style="bold")
    if record.floor is not None:
        scores.add_column(_heading("untouched\nbase", record.floor), justify="right")
    if record.ceiling is not None:
        scores.add_column(_heading("photos\nthemselves", record.ceiling), justify="right")
    scores.add_column("what it means", style="dim")
    columns = [part for part in (record.overall, record.floor, record.ceiling) if part is not None]
    learned = record.learned
    against_learned = [] if learned is None else [learned.overall, learned.floor, learned.ceiling]
    for name, measure, meaning in rows:
        shown = [(name, [record.overall, record.floor, record.ceiling], meaning)]
        if learned is not None and measure in measures.COPYING:
            shown = [(name, against_learned, meaning)]
        elif learned is not None and measure in measures.LIKENESS:
            shown.append((LEARNED, against_learned, "overestimates"))
        for each, parts, said in shown:
            values = [getattr(part, measure.name) for part in parts if part is not None]
            cells = ["-" if value is None else measure.show(value) for value in values]
            if cells[0] != "-":
                scores.add_row(each, *cells, *["-"] * (len(columns) - len(cells)), said)
    for name, own, base, meaning in _drift_rows(record.drift) if record.drift else ():
        cells = [own, *([base] if record.floor else []), *(["-"] if record.ceiling else [])]
        scores.add_row(name, *cells, meaning)
    return scores


def _drift_rows(drift: Drift) -> list[tuple[str, str, str, str]]:
    """Of pictures of their own number, which stands beside the name."""
    rows = [(f"drift (n = {drift.n})", f"{drift.dino:.3f}", "-", "other things, to DINO")]
    if drift.clip is not None:
        rows.append(("  to CLIP", f"{drift.clip:.3f}", "-", "0: as the base's"))
    if drift.text_change is not None:
        text = f"{drift.text_alignment:.3f}", f"{drift.base_text_alignment:.3f}"
        rows.append(("  text alignment", *text, f"{drift.text_change:+.3f} by the adapter"))
    return rows


def _whose_photos(record: ScoresRecord) -> list[str]:
    """Which photos likeness was measured against, where an adapter learned from some."""
    if record.learned is not None:
        held_out, learned = len(record.references), len(record.learned.references)
        return [
            f"likeness is to {counted(held_out, 'photo')} held out of training, beneath it to the {learned} learned"
        ]
    if any(each.overestimates for each in (record, *(of_concept(record, one) for one in record.concepts))):
        return [f"likeness is {OVERESTIMATES}"]
    return []


def _heading(name: str, summary: Summary) -> str:
    return f"{name}\nn = {summary.n}"


def _notes(record: ScoresRecord) -> list[str]:
    label = [record.label] if record.label else []
    return [
        *label,
        *_whose_photos(record),
        *([UNMASKED] if record.unmasked else []),
        *made_by(record),
        *(["diversity grows with n: compare it at equal n only"] if record.overall.diversity else []),
    ]
