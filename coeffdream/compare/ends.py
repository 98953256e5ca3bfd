"""What the rows of a comparison lie between: the untouched base, and the photos among themselves."""

from __future__ import annotations

from collections.abc import Sequence

from coeffdream.compare.pairing import Pairing
from coeffdream.compare.result import End
from coeffdream.records.measures import DIVERSITY, DRIFT
from coeffdream.records.scores import ScoresRecord, Summary

FLOOR, CEILING = "untouched base", "photos themselves"


def ends_of(pairing: Pairing, metrics: Sequence[str], n: int) -> list[End]:
    """Floor and ceiling of `metrics`, of the concepts where they were scored; one that no concept has is left out.

    They are equal in all runs of a concept that have them, so those of the first count. Diversity counts only of n
    pictures, with whose number it grows. The base does not drift from itself.
    """
    scores = {
        concept: [run.scores for group in pairing.groups for run in group.runs[concept]]
        for concept in pairing.concepts
    }
    ends = []
    for label, kind in ((FLOOR, "floor"), (CEILING, "ceiling")):
        summaries = {concept: found for concept, runs in scores.items() if (found := _first(runs, kind))}
        by_concept: dict[str, dict[str, float]] = {}
        for metric in metrics:
            if metric == DRIFT.name:
                values = dict.fromkeys(summaries, 0.0) if label == FLOOR else {}
            else:
                known = {concept: _value(summary, metric, n) for concept, summary in summaries.items()}
                values = {concept: value for concept, value in known.items() if value is not None}
            if values:
                by_concept[metric] = values
        if by_concept:
            ends.append(End(label, by_concept))
    return ends


def _first(runs: Sequence[ScoresRecord], kind: str) -> Summary | None:
    return next((found for scores in runs if (found := getattr(scores, kind)) is not None), None)


def _value(summary: Summary, metric: str, n: int) -> float | None:
    return None if metric == DIVERSITY.name and summary.n != n else getattr(summary, metric, None)
