"""Which model made which scores: said beside every table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from coeffdream.records.measures import MEASURES, Measure
from coeffdream.records.scores import ScoresRecord


def by_model(models: Mapping[str, str], made: Iterable[Measure]) -> list[str]:
    """A line a model, with the scores it made. models: the name of each, by `Measure.model`."""
    words: dict[str, dict[str, None]] = {}
    for measure in made:
        name, _, _ = measure.words.partition(",")  # "nearest photo, mean"
        words.setdefault(measure.model, {})[name] = None
    return [f"{name}: {', '.join(words[model])}" for model, name in models.items() if model in words]


def made_by(scores: ScoresRecord) -> list[str]:
    """`by_model` of one set's scores."""
    summaries = [scores.overall, *(concept.overall for concept in scores.concepts)]
    made = [
        measure
        for measure in MEASURES.values()
        if any(getattr(each, measure.name, None) is not None for each in (*summaries, scores))
    ]
    return by_model({model: each.name for model, each in scores.encoders.used.items()}, made)
