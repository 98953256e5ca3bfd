"""What the scores of a set say together, in plain words."""

from __future__ import annotations

from coeffdream.errors import counted
from coeffdream.records.scores import OVERESTIMATES, UNMASKED, ScoresRecord, of_concept


def readings(scores: ScoresRecord) -> list[str]:
    """What the numbers say together, in plain words; only what they do say."""
    run, floor = scores.overall, scores.floor
    said = _against_photos(scores)
    for concept in scores.concepts:
        said += [f"{concept.name}: {line}" for line in _against_photos(of_concept(scores, concept))]
    if scores.drift:
        change = scores.drift.text_change
        text = (
            f"; their text alignment {'rose' if change >= 0 else 'fell'} by {abs(change):.3f}"
            if change is not None
            else ""
        )
        said.append(
            f"Pictures of other things moved away from the untouched base’s by {scores.drift.dino:.3f} (1 − DINO cosine, "
            f"the mean of {scores.drift.n} pairs of one seed; 0 is no change){text}."
        )
    share = 0.0
    if floor and floor.n == run.n and run.diversity and floor.diversity:
        share = 1 - run.diversity / floor.diversity
    if share > 0.2:
        said.append(
            f"It draws {100 * share:.0f} % fewer different pictures, in effect, than the untouched base does."
        )
    return said


def _against_photos(scores: ScoresRecord) -> list[str]:
    run, floor, photos = scores.overall, scores.floor, scores.ceiling
    said = []
    if floor and run.concept_alignment is not None and floor.concept_alignment is not None:
        if run.concept_alignment <= floor.concept_alignment:
            said.append(
                "Concept alignment is not above the untouched base’s: the thing has not been learned."
            )
        elif photos and photos.concept_alignment and photos.concept_alignment > floor.concept_alignment:
            way = (run.concept_alignment - floor.concept_alignment) / (
                photos.concept_alignment - floor.concept_alignment
            )
            said.append(
                f"Concept alignment has gone {100 * way:.0f} % of the way from the untouched base to the photos’ "
                "likeness to one another."
            )
    if scores.unmasked:
        said.append(f"{UNMASKED[0].upper()}{UNMASKED[1:]}.")
    if scores.overestimates:
        said.append(f"Likeness is {OVERESTIMATES}.")
    if scores.learned:
        said.append(
            f"Likeness is to {counted(len(scores.references), 'photo')} held out of training; "
            f"copying is looked for in the {len(scores.learned.references)} learned."
        )
        run, floor, photos = scores.learned.overall, scores.learned.floor, scores.learned.ceiling
    leak, base = run.background_leak, floor.background_leak if floor else None
    if leak is not None and base is not None:
        side = "above" if leak >= base else "below"
        said.append(
            f"Background leak is {abs(leak - base):.3f} {side} the untouched base’s, which knows none of the photos’ places."
        )
    if photos and run.nearest_p95 is not None and photos.nearest_mean is not None:
        if run.nearest_p95 > photos.nearest_mean:
            said.append(
                "Its closest pictures (95th percentile) are nearer to a photo than the photos usually are to one "
                "another: look whether they copy it."
            )
        else:
            said.append(
                "Even its closest pictures (95th percentile) are no nearer to a photo than the photos usually are to "
                "one another: no sign of copying."
            )
    return said
