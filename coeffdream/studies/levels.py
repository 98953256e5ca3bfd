"""Between what a likeness, a text alignment and a drift lie: what the untouched base scores, and what comes by chance."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from coeffdream.metrics.against import Against
from coeffdream.metrics.inputs import Picture
from coeffdream.metrics.measure import Scorer
from coeffdream.records.sweep import Levels


def levels_of(
    scorer: Scorer, base_own: Sequence[Picture], base_unrelated: Sequence[Picture], untouched: Against
) -> Levels:
    """base_own, base_unrelated: the untouched base's pictures of the thing's prompts and of unrelated ones, of two
    prompts and more each. untouched: `base_own` against the photos."""
    by_chance = scorer.pictures(_with_text_of_next(base_own), []).summary
    pairs = scorer.drift(base_unrelated, _next(base_unrelated))
    return Levels(
        likeness=known(untouched.scored.summary.concept_alignment),
        ceiling=untouched.ceiling.concept_alignment if untouched.ceiling else None,
        text_alignment=known(untouched.scored.summary.text_alignment),
        text_chance=known(by_chance.text_alignment),
        drift_chance=float(np.mean([known(pair.clip) for pair in pairs], dtype=np.float64)),
    )


def known(value: float | None) -> float:
    """A score of which photos and texts are there."""
    assert value is not None
    return value


def _next(pictures: Sequence[Picture]) -> list[Picture]:
    """At each place a picture of the next prompt."""
    each = sum(picture.prompt_index == pictures[0].prompt_index for picture in pictures)
    return [*pictures[each:], *pictures[:each]]


def _with_text_of_next(pictures: Sequence[Picture]) -> list[Picture]:
    others = _next(pictures)
    return [
        dataclasses.replace(picture, text=other.text) for picture, other in zip(pictures, others, strict=True)
    ]
