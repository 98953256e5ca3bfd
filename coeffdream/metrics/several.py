"""Several things drawn together, each scored against its own photos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from coeffdream.data.prompts import numbered
from coeffdream.errors import ScoreError
from coeffdream.metrics.against import score_against
from coeffdream.metrics.inputs import Picture, Reference, photo_hashes, references_of_run
from coeffdream.metrics.measure import Scorer
from coeffdream.records.run import Part, RunRecord
from coeffdream.records.scores import ConceptScores

PartPhotos = tuple[Part, list[Reference]]


def photos_of_parts(record: RunRecord, folder: Path | None) -> list[PartPhotos]:
    """The parts of a run of several and the photos each learned from; empty for every other run.

    Raises ScoreError when photos are gone or altered, and for a `folder` where they are meant to be now.
    """
    if record.parts and folder is not None:
        raise ScoreError(
            f"--references {folder} can hold the photos of one thing, and {record.name} shows {len(record.parts)}; "
            "leave it out, and put photos that moved back"
        )
    return [(part, references_of_run(part)) for part in record.parts]


def score_parts(
    scorer: Scorer, parts: Sequence[PartPhotos], pictures: Sequence[Picture], untouched: Sequence[Picture]
) -> list[ConceptScores]:
    """Each part on those `pictures` whose prompt names it; the floor on the same of the `untouched` base's."""
    found = []
    for placeholder, (part, photos) in zip(numbered(len(parts)), parts, strict=True):
        own, floor = (
            [each for each in some if placeholder in each.template] for some in (pictures, untouched)
        )
        if not own:
            scorer.warnings.append(f"no prompt names {placeholder}, so {part.name} is not scored")
            continue
        if not photos:
            scorer.warnings.append(f"{part.name} learned no concept, so {placeholder} is not scored")
            continue
        against = score_against(scorer, own, floor, photos)
        found.append(
            ConceptScores(
                name=part.name,
                placeholder=placeholder,
                class_noun=part.class_noun,
                references=photo_hashes(against.references),
                overall=against.scored.summary,
                floor=against.floor,
                ceiling=against.ceiling,
                per_prompt=against.scored.per_prompt,
                per_image=against.scored.per_image,
                learned=against.learned,
            )
        )
    return found
