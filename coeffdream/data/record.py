"""What run.json says of the photos."""

from __future__ import annotations

from coeffdream.data.concept import Concept
from coeffdream.records.concept import ConceptRecord, PhotoRecord


def concept_record(concept: Concept) -> ConceptRecord:
    return ConceptRecord(
        name=concept.name,
        folder=str(concept.folder.resolve()),
        class_noun=concept.class_noun,
        class_source=concept.class_source,
        live=concept.live,
        images=[
            PhotoRecord(
                image.path.name,
                image.sha256,
                image.width,
                image.height,
                image.caption,
                mask_sha256=image.mask_sha256,
                held_out=image.held_out,
            )
            for image in concept.images
        ],
    )
