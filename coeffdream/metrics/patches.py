"""Which patches of a photo show the thing, and which what is around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from coeffdream.data.masks import check_masks, load_mask, mask_file, nothing_shown
from coeffdream.metrics.encoder import PatchEncoder
from coeffdream.metrics.inputs import Reference
from coeffdream.records.files import sha256_of_file

# Shares of a patch. What lies between is of both, and belongs to neither.
SUBJECT, BACKGROUND = 0.95, 0.1


@dataclass(frozen=True)
class Regions:
    """Of one photo, [P] each: the patches that are the thing's, and those around it. mask_sha256: None for the whole
    photo, which has nothing around it."""

    subject: NDArray[np.bool_]
    background: NDArray[np.bool_]
    mask_sha256: str | None


def regions_of(encoder: PatchEncoder, photos: Sequence[Reference]) -> list[Regions]:
    """The regions of each photo, as `encoder` looks at it: the whole of each where the photos have no masks.

    Raises ConceptError where some photos have a mask file and others no mask, and where the encoder's
    crop leaves nothing of the thing.
    """
    masks = {photo.path: load_mask(photo.path) for photo in photos}
    if any(mask_file(path) != path for path in masks):
        check_masks(photos[0].path.parent, masks)
    # A cut-out among photos without masks was never meant as one.
    unmasked = any(mask is None for mask in masks.values())
    regions = []
    for photo in photos:
        mask = masks[photo.path]
        share = encoder.cover(mask if mask is not None and not unmasked else Image.new("L", (64, 64), 255))
        if not share.any():
            raise nothing_shown(photo.path)
        regions.append(
            Regions(
                share >= min(SUBJECT, share.max()),  # of a thing smaller than a patch: where most of it is
                share <= BACKGROUND,
                None if unmasked else sha256_of_file(mask_file(photo.path)),
            )
        )
    return regions
