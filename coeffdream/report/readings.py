"""The scores in words: a card for each of the paper's three, a table, and what the numbers together say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from coeffdream.compare.comparison import RESAMPLES, estimates_of
from coeffdream.compare.result import Estimate
from coeffdream.errors import ScoreError
from coeffdream.records import measures
from coeffdream.records.made import made_by
from coeffdream.records.measures import DRIFT, Measure
from coeffdream.records.scores import ConceptScores, ScoresRecord, Summary, of_concept
from coeffdream.report.said import readings
from coeffdream.report.strip import Strip, strip

INTERVALS = (
    f"[In brackets] the 95 % interval. Text, concept and DINO alignment: prompts, the pictures of each and the photos "
    f"drawn anew {RESAMPLES:,} times (studentised bootstrap). Diversity: delete-one-prompt jackknife, because pictures "
    "drawn twice would bias it. They speak of this adapter, these photos and prompts like these, not of other concepts."
)


def intervals(scores: ScoresRecord) -> dict[str, Estimate]:
    """The set's scores with their intervals, as `compare` prints them; none for a set that is not whole."""
    try:
        return estimates_of(scores)
    except ScoreError:
        return {}


def _bounds(estimates: Mapping[str, Estimate], measure: Measure) -> str:
    estimate = estimates.get(measure.name)
    return "" if estimate is None else estimate.bounds(measure.show)


@dataclass(frozen=True)
class Card:
    """One of the three scores of the paper. `words`: what it says, in a sentence; "" when that is nothing."""

    name: str
    value: str
    interval: str
    words: str
    n: int
    question: str
    how: str
    strip: Strip
    beside: str


@dataclass(frozen=True)
class Read:
    """All that the page says of a run's scores."""

    cards: list[Card]
    readings: list[str]
    headings: list[str]
    rows: list[tuple[str, list[str]]]
    how_intervals: str
    made_by: list[str]


def about(scores: ScoresRecord) -> Read:
    """Read the scores of a set."""
    estimates = intervals(scores)
    headings, rows = table(scores, estimates)
    known = any(each.low is not None for each in estimates.values())
    return Read(
        cards(scores, estimates),
        readings(scores),
        headings,
        rows,
        INTERVALS if known else "",
        made_by(scores),
    )


# The question it answers, and how to read it.
CARDS: tuple[tuple[Measure, str, str], ...] = (
    (
        measures.TEXT_ALIGNMENT,
        "Does it show what the prompt says?",
        "Mean CLIP cosine of picture and prompt, without the placeholder. The untouched base owes no likeness to any "
        "photo, so it may well score higher: a small loss against it is the price of likeness.",
    ),
    (
        measures.CONCEPT_ALIGNMENT,
        "Is it the thing in the photos?",
        "Mean CLIP cosine of each picture with each photo. It should rise well above the untouched base; above the "
        "photos’ own likeness to one another, look whether the pictures copy them.",
    ),
    (
        measures.DIVERSITY,
        "How many different pictures is that, in effect?",
        "Vendi score of DINOv2 features: 1 when all are alike, n when none has anything in common. It grows with n, so "
        "only equal n compare; and broken pictures are diverse too, so read it beside concept alignment.",
    ),
)


def cards(scores: ScoresRecord, estimates: Mapping[str, Estimate]) -> list[Card]:
    made = []
    for measure, question, how in CARDS:
        value, digits = getattr(scores.overall, measure.name), measure.digits
        if value is None:
            continue
        values = {"run": value}
        beside = []
        for kind, said, summary in (
            ("floor", "untouched base", scores.floor),
            ("ceiling", "photos among themselves", scores.ceiling),
        ):
            other = getattr(summary, measure.name) if summary else None
            if summary is None or other is None:
                continue
            if measure is measures.DIVERSITY and summary.n != scores.overall.n:
                beside.append(f"{said}: {other:.{digits}f}, of n = {summary.n}, so not comparable")
            else:
                values[kind] = other
                if kind == "floor":
                    sign = "+" if value >= other else "−"
                    beside.append(f"{sign}{abs(value - other):.{digits}f} against the untouched base")
        made.append(
            Card(
                measure.heading,
                measure.show(value),
                _bounds(estimates, measure),
                _said_of(measure, scores, estimates.get(measure.name)),
                scores.overall.n,
                question,
                how,
                strip(measure, values, estimates.get(measure.name)),
                "; ".join(beside),
            )
        )
    for concept, alone in _concepts(scores):
        made += [
            replace(card, name=f"{card.name}, {concept.name}")
            for card in cards(alone, intervals(alone))
            if card.name == measures.CONCEPT_ALIGNMENT.heading
        ]
    return made


def _concepts(scores: ScoresRecord) -> list[tuple[ConceptScores, ScoresRecord]]:
    """Each of several things with its scores as if they were a set's."""
    return [(concept, of_concept(scores, concept)) for concept in scores.concepts]


LEARNED = "{}, learned photos"  # beside what is measured against those that were held out
AGAINST_PHOTOS = [measure.heading for measure in (*measures.LIKENESS, *measures.COPYING)]
AGAINST_PHOTOS += [LEARNED.format(measure.heading) for measure in measures.LIKENESS]


def _said_of(measure: Measure, scores: ScoresRecord, estimate: Estimate | None) -> str:
    """What one score says against the untouched base; only what it does say."""
    value, floor = getattr(scores.overall, measure.name), scores.floor
    of_many = f"of {scores.overall.n} pictures" if measure is measures.DIVERSITY else ""
    base = getattr(floor, measure.name) if floor else None
    if floor is None or base is None or (of_many and floor.n != scores.overall.n):
        return of_many
    if of_many:
        share = 100 * (value / base - 1)
        if abs(share) < 0.5:
            return "As many different pictures, in effect, as the untouched base draws."
        more = "more" if share > 0 else "fewer"
        return f"{abs(share):.0f} % {more} different pictures, in effect, than the untouched base draws."
    if measure is measures.CONCEPT_ALIGNMENT:
        photos = scores.ceiling.concept_alignment if scores.ceiling else None
        if value <= base:
            return "Not above the untouched base: the thing has not been learned."
        if photos is not None and photos > base:
            way = 100 * (value - base) / (photos - base)
            return f"{way:.0f} % of the way from the untouched base to the photos’ likeness to one another."
    side = "above" if value >= base else "below"
    said = f"{measure.show(abs(value - base))} {side} the untouched base"
    if (
        estimate
        and estimate.low is not None
        and estimate.high is not None
        and estimate.low < base < estimate.high
    ):
        return f"{said}, which lies within the interval."
    return (
        f"{said}, which need not look like the photos." if measure is measures.TEXT_ALIGNMENT else f"{said}."
    )


def table(
    scores: ScoresRecord, estimates: Mapping[str, Estimate]
) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Column headings with their n, and one row for each metric that was measured."""
    columns: list[tuple[str, Summary]] = [("this run", scores.overall)]
    columns += [("untouched base", scores.floor)] if scores.floor else []
    columns += [("photos themselves", scores.ceiling)] if scores.ceiling else []
    of_learned = _of_learned(scores, len(columns))
    rows = []
    for measure in measures.MEASURES.values():
        copying = measure in measures.COPYING and scores.learned is not None
        summaries: Sequence[Summary | None] = of_learned if copying else [each for _, each in columns]
        shown = _shown(measure, summaries)
        if shown[0] != "–":
            rows.append((measure.heading, [f"{shown[0]} {_bounds(estimates, measure)}".strip(), *shown[1:]]))
        if measure in measures.LIKENESS and scores.learned is not None:
            rows.append((LEARNED.format(measure.heading), _shown(measure, of_learned)))
    if scores.drift:
        said = f"{DRIFT.show(scores.drift.dino)} {_bounds(estimates, DRIFT)}".strip()
        rows.append(
            (
                f"Drift on {scores.drift.n} unrelated pictures (less is better)",
                [said, *("–" for _ in columns[1:])],
            )
        )
    headings = [f"{name}, n = {summary.n}" for name, summary in columns]
    for concept, alone in _concepts(scores):
        own_headings, own_rows = table(alone, intervals(alone))
        headings += ["photos themselves"] * (len(own_headings) - len(headings))
        rows += [
            (f"{name}, {concept.name} (n = {alone.overall.n})", values)
            for name, values in own_rows
            if name in AGAINST_PHOTOS
        ]
    return headings, [(name, [*values, *["–"] * (len(headings) - len(values))]) for name, values in rows]


def _of_learned(scores: ScoresRecord, columns: int) -> list[Summary | None]:
    """What stands in the columns against the photos that were learned, where others were held out."""
    if scores.learned is None:
        return []
    of = scores.learned
    found = [of.overall, *([of.floor] if scores.floor else []), *([of.ceiling] if scores.ceiling else [])]
    return [*found, *[None] * (columns - len(found))]


def _shown(measure: Measure, summaries: Sequence[Summary | None]) -> list[str]:
    values = [getattr(summary, measure.name, None) for summary in summaries]
    return ["–" if value is None else measure.show(value) for value in values]
