"""What the scores are made from: features of pictures, photos and texts, each encoded once and kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from coeffdream.data.images import load_image
from coeffdream.errors import ScoreError
from coeffdream.metrics import features as maths
from coeffdream.metrics.encoder import (
    Features,
    ImageEncoder,
    ImageTextEncoder,
    PatchEncoder,
    PromptedEncoder,
    fingerprint,
)
from coeffdream.metrics.encoders import Encoders
from coeffdream.metrics.feature_cache import FeatureCache, encode_through
from coeffdream.metrics.inputs import Picture, Reference
from coeffdream.metrics.patches import Regions, regions_of
from coeffdream.progress import Progress, silent
from coeffdream.records.files import sha256_of_json

Items = Sequence[Picture] | Sequence[Reference]


@dataclass(frozen=True)
class PatchAlignment:
    """Of n pictures with R photos: `subject` [n, R], and `background` [n, B] with the photos numbered in `around`, which
    have a mask and something beside it."""

    subject: maths.Array
    background: maths.Array
    around: list[int]


@dataclass
class Encoding:
    """The encoders with their cache, and how to use them. `batch_size` falls when the memory does not suffice."""

    encoders: Encoders
    cache: FeatureCache
    batch_size: int = 32
    on_progress: Progress = silent
    warnings: list[str] = field(default_factory=list)
    _regions: dict[str, list[Regions]] = field(default_factory=dict, init=False)

    def clip(self) -> ImageTextEncoder:
        assert self.encoders.clip is not None
        return self.encoders.clip

    def image_features(self, encoder: ImageEncoder, items: Items, what: str) -> Features:
        """[n, D] of pictures or photos. Raises ScoreError that names the files whose features are of no use."""
        found = encode_through(
            self.cache,
            fingerprint(encoder),
            encoder.width,
            [item.sha256 for item in items],
            lambda positions: self._full(
                encoder.images, [load_image(items[position].path) for position in positions]
            ),
            batch_size=self.batch_size,
            on_done=self._report(encoder, what, len(items)),
            smaller=self._smaller,
        )
        _refuse_useless(found, [item.file for item in items], encoder)
        return found

    def text_features(self, texts: Sequence[str]) -> Features:
        """[n, D] of texts, by CLIP."""
        clip = self.clip()
        distinct = list(dict.fromkeys(texts))
        for text, count in zip(distinct, clip.token_counts(distinct), strict=True):
            warning = (
                f"{text!r} has {count} tokens and {clip.name} reads {clip.context_length}; "
                "its text alignment covers the beginning only"
            )
            if count > clip.context_length:
                self.warn(warning)
        return encode_through(
            self.cache,
            fingerprint(clip),
            clip.width,
            [hashlib.sha256(f"text {text}".encode()).hexdigest() for text in texts],
            lambda positions: self._full(clip.texts, [texts[position] for position in positions]),
            batch_size=self.batch_size,
            smaller=self._smaller,
        )

    def prompted(self, encoder: PromptedEncoder, pictures: Sequence[Picture]) -> list[float]:
        """One value for each picture and its text."""

        def values(pairs: Sequence[tuple[Any, str]]) -> Features:
            return encoder.values([image for image, _ in pairs], [text for _, text in pairs])[:, None]

        found = encode_through(
            self.cache,
            fingerprint(encoder),
            1,
            [sha256_of_json([picture.sha256, picture.text]) for picture in pictures],
            lambda positions: self._full(
                values,
                [(load_image(pictures[position].path), pictures[position].text) for position in positions],
            ),
            batch_size=self.batch_size,
            on_done=self._report(encoder, "pictures", len(pictures)),
            smaller=self._smaller,
        )
        return [float(value) for value in found[:, 0]]

    def patch_alignment(self, items: Items, photos: Sequence[Reference], what: str) -> PatchAlignment:
        """How like each picture is to the thing in each photo, and to what is around it.

        Kept is the outcome, and not the features of the patches, which are hundreds of times as many.
        """
        encoder = self.encoders.dino
        assert encoder is not None
        regions = self._regions_of(encoder, photos)
        wanted = [(row, each.subject) for row, each in enumerate(regions)]
        around = [(row, each.background) for row, each in enumerate(regions) if each.background.any()]
        known: list[Features] = []

        def encode(positions: Sequence[int]) -> Features:
            if not known:
                known.extend(self._patches(encoder, photos))
            drawn = self._patches(encoder, [items[position] for position in positions])
            return np.array(
                [
                    [maths.patch_alignment(known[row][region], picture) for row, region in [*wanted, *around]]
                    for picture in drawn
                ]
            )

        of_photos = [[photo.sha256, each.mask_sha256] for photo, each in zip(photos, regions, strict=True)]
        values = encode_through(
            self.cache,
            fingerprint(encoder),
            len(wanted) + len(around),
            [sha256_of_json(["patches", item.sha256, of_photos]) for item in items],
            encode,
            batch_size=self.batch_size,
            on_done=self._report(encoder, what, len(items)),
            smaller=self._smaller,
        ).astype(np.float64)
        count = len(wanted)
        return PatchAlignment(values[:, :count], values[:, count:], [row for row, _ in around])

    def _regions_of(self, encoder: PatchEncoder, photos: Sequence[Reference]) -> list[Regions]:
        """Found once: every photo has to be decoded for its mask."""
        whose = sha256_of_json([fingerprint(encoder), *[photo.sha256 for photo in photos]])
        if whose not in self._regions:
            self._regions[whose] = regions_of(encoder, photos)
        return self._regions[whose]

    def _patches(self, encoder: PatchEncoder, items: Sequence[Picture | Reference]) -> Features:
        batches = [items[start : start + self.batch_size] for start in range(0, len(items), self.batch_size)]
        return np.concatenate(
            [self._full(encoder.patches, [load_image(item.path) for item in batch]) for batch in batches]
        )

    def warn(self, warning: str) -> None:
        """Say it once."""
        if warning not in self.warnings:
            self.warnings.append(warning)

    def _report(
        self, encoder: ImageEncoder | PromptedEncoder, what: str, total: int
    ) -> Callable[[int], None]:
        """Progress, unless everything was cached."""
        done = 0

        def report(count: int) -> None:
            nonlocal done
            everything_was_cached = done == 0 and count == total
            done += count
            if not everything_was_cached:
                self.on_progress(f"{encoder.name.split()[0]}: {what}", done, total, "")

        return report

    def _smaller(self, size: int) -> None:
        self.warnings.append(
            f"the memory did not suffice for batches of {self.batch_size}; scored with --batch-size {size}"
        )
        self.batch_size = size

    def _full(self, encode: Callable[[Sequence[Any]], Features], items: Sequence[Any]) -> Features:
        """Encode fewer than a batch as one filled up with the last: the order in which a matrix product adds
        depends on its shape, and so would the last digits of a score on how much of a set was cached."""
        return encode([*items, *[items[-1]] * (self.batch_size - len(items))])[: len(items)]


def _refuse_useless(features: Features, files: Sequence[str], encoder: ImageEncoder) -> None:
    """Name the files, where the maths could only name rows."""
    useless = [
        file for file, row in zip(files, features, strict=True) if not np.isfinite(row).all() or not row.any()
    ]
    if useless:
        named = ", ".join(useless[:8]) + (", ..." if len(useless) > 8 else "")
        raise ScoreError(
            f"{encoder.name} gives zero or non-finite features for {len(useless)} of {len(files)} pictures "
            f"({named}); "
            "its weights are damaged or do not fit: fetch them again"
        )
