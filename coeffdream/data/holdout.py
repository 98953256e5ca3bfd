"""Photos kept out of training, so that likeness can be scored against photos that were never learned by heart."""

from __future__ import annotations

from dataclasses import replace
from hashlib import blake2b

from coeffdream.config import TrainConfig
from coeffdream.data.concept import Concept
from coeffdream.data.photo import ConceptImage
from coeffdream.errors import ConceptError, counted, listed


def to_train_on(concept: Concept, config: TrainConfig) -> Concept:
    """The concept as `config` wants it trained on: photos held out, and a mask for each where they are needed.

    Raises ConceptError as `hold_out` and `Concept.check_masks` do.
    """
    if config.masked_loss:
        concept.check_masks()
    return hold_out(concept, config.holdout, config.seed)


def hold_out(concept: Concept, count: int, seed: int) -> Concept:
    """The concept with `count` of its photos marked as held out.

    Which ones follows from the seed and the photos' contents: neither their names nor their order matter.
    Raises ConceptError when no photo would be left to learn from, and when a held-out photo is also learned
    from under another name.
    """
    photos = concept.images
    if count >= len(photos):
        remedy = f"hold out at most {len(photos) - 1}" if len(photos) > 1 else "add photos, or leave it out"
        raise ConceptError(
            f"--holdout {count} leaves no photo to learn from: {concept.folder} holds {counted(len(photos), 'photo')}; {remedy}"
        )
    chosen = sorted(photos, key=lambda image: _draw(image, seed))[:count]
    marked = replace(concept, images=tuple(replace(image, held_out=image in chosen) for image in photos))
    known = {image.sha256 for image in marked.learned}
    if copies := [image.path.name for image in marked.held_out if image.sha256 in known]:
        raise ConceptError(
            f"{concept.folder} holds {listed(copies)} twice, under another name too, so holding it out would not keep "
            "it out; remove the copy"
        )
    return marked


def _draw(image: ConceptImage, seed: int) -> bytes:
    return blake2b(f"{seed}:holdout:{image.sha256}".encode()).digest()
