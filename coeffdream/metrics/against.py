"""A set of pictures against the photos of its thing: those held out, where there are such, and those learned apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from coeffdream.metrics.inputs import Picture, Reference, photo_hashes
from coeffdream.metrics.measure import Scored, Scorer
from coeffdream.records.scores import LearnedScores, Summary


@dataclass(frozen=True)
class Against:
    """`references`: the photos that `scored`, `floor` and `ceiling` are of. `learned`: None where none were held out."""

    references: list[Reference]
    scored: Scored
    floor: Summary | None
    ceiling: Summary | None
    learned: LearnedScores | None


def score_against(
    scorer: Scorer, pictures: Sequence[Picture], untouched: Sequence[Picture], photos: Sequence[Reference]
) -> Against:
    """Score pictures, and the same ones as the untouched base draws them, against photos.

    Where photos were held out these are the references: likeness to photos that were trained on is overestimated
    (arXiv 2503.06632).
    """
    held_out = [photo for photo in photos if photo.held_out]
    learned = [photo for photo in photos if not photo.held_out]
    references = held_out or learned

    def floor(of: Sequence[Reference]) -> Summary | None:
        return scorer.pictures(untouched, of).summary if untouched else None

    return Against(
        references,
        scorer.pictures(pictures, references),
        floor(references),
        scorer.references(references, learned if held_out else ()),
        LearnedScores(
            photo_hashes(learned),
            scorer.pictures(pictures, learned).summary,
            floor(learned),
            scorer.references(learned),
        )
        if held_out
        else None,
    )
