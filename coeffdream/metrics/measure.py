"""Pictures and photos to scores: encode, then the pure functions of features."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from coeffdream.data.images import load_image
from coeffdream.errors import ScoreError
from coeffdream.metrics import features as maths
from coeffdream.metrics.encoder import Features, ImageEncoder, fingerprint
from coeffdream.metrics.encoder_choice import Encoders
from coeffdream.metrics.feature_cache import FeatureCache, encode_through
from coeffdream.metrics.inputs import Picture, Reference
from coeffdream.progress import Progress, silent
from coeffdream.records.scores import DriftImage, ImageScore, PromptScore, Summary, which


@dataclass(frozen=True)
class Scored:
    """The scores of one set of pictures."""

    summary: Summary
    per_prompt: list[PromptScore]
    per_image: list[ImageScore]


@dataclass
class Scorer:
    """Two encoders with their cache, and how to use them. `batch_size` falls when the memory does not suffice."""

    encoders: Encoders
    cache: FeatureCache
    batch_size: int = 32
    on_progress: Progress = silent
    warnings: list[str] = field(default_factory=list)

    def pictures(self, pictures: Sequence[Picture], references: Sequence[Reference]) -> Scored:
        """Score a set; the photo metrics stay None when there are no references."""
        clip = self._image_features(self.encoders.clip, pictures, "CLIP: pictures")
        dino = self._image_features(self.encoders.dino, pictures, "DINOv2: pictures")
        text = maths.text_alignment(clip, self._text_features([picture.text for picture in pictures]))
        count = len(pictures)
        by_clip: maths.Array = np.empty((count, 0))
        by_dino = by_clip
        concept: Sequence[float | None] = [None] * count
        likeness = concept
        nearest: list[float] = []
        if references:
            photos = self._reference_features(self.encoders.clip, references)
            by_clip = maths.similarities(clip, photos)
            concept = maths.concept_alignment(clip, photos).tolist()
            photos = self._reference_features(self.encoders.dino, references)
            by_dino = maths.similarities(dino, photos)
            likeness = maths.concept_alignment(dino, photos).tolist()
            nearest = maths.nearest_reference(dino, photos).tolist()
        per_image = [
            ImageScore(
                **which(picture),
                text_alignment=float(text[row]),
                concept_alignment=concept[row],
                dino_alignment=likeness[row],
                nearest=nearest[row] if references else None,
                concept_by_reference=by_clip[row].tolist(),
                dino_by_reference=by_dino[row].tolist(),
            )
            for row, picture in enumerate(pictures)
        ]
        per_prompt = _per_prompt(pictures, per_image, dino)
        within = [prompt.diversity for prompt in per_prompt if prompt.diversity is not None]
        summary = Summary(
            n=count,
            prompts=len(per_prompt),
            images_per_prompt=max(prompt.n for prompt in per_prompt),
            references=len(references),
            text_alignment=float(text.mean()),
            concept_alignment=_mean([image.concept_alignment for image in per_image]),
            diversity=maths.vendi(dino),
            diversity_q=maths.VENDI_Q,
            within_prompt=_mean(within),
            dino_alignment=_mean([image.dino_alignment for image in per_image]),
            nearest_mean=_mean(nearest),
            nearest_p95=float(np.percentile(nearest, 95)) if references else None,
            nearest_max=max(nearest) if references else None,
        )
        return Scored(summary, per_prompt, per_image)

    def drift(self, pictures: Sequence[Picture], untouched: Sequence[Picture]) -> list[DriftImage]:
        """What became of unrelated prompts; both in one order, a pair at each place."""
        pairs = [*pictures, *untouched]
        clip = self._image_features(self.encoders.clip, pairs, "CLIP: unrelated")
        dino = self._image_features(self.encoders.dino, pairs, "DINOv2: unrelated")
        text = maths.text_alignment(clip, self._text_features([picture.text for picture in pairs]))
        count = len(pictures)
        by_clip, by_dino = (maths.drift(features[:count], features[count:]) for features in (clip, dino))
        return [
            DriftImage(
                prompt_index=picture.prompt_index,
                image_index=picture.image_index,
                seed=picture.seed or 0,
                file=picture.file,
                base_file=other.file,
                dino=float(by_dino[row]),
                clip=float(by_clip[row]),
                text_alignment=float(text[row]),
                base_text_alignment=float(text[count + row]),
            )
            for row, (picture, other) in enumerate(zip(pictures, untouched, strict=True))
        ]

    def references(
        self, references: Sequence[Reference], learned: Sequence[Reference] = ()
    ) -> Summary | None:
        """The photos among themselves: what a perfect learner would reach.

        Each against the others, or, where `references` were held out, each of those learned against each of them.
        """
        photos = learned or references
        if len(references) < 2 and not learned:
            return None

        def cosines(encoder: ImageEncoder) -> maths.Array:
            features = self._reference_features(encoder, references)
            if not learned:
                return maths.leave_one_out(features)
            return maths.similarities(self._reference_features(encoder, learned), features)

        clip, dino = cosines(self.encoders.clip), cosines(self.encoders.dino)
        nearest = dino.max(axis=1)
        return Summary(
            n=len(photos),
            prompts=0,
            images_per_prompt=0,
            references=len(references),
            text_alignment=None,
            concept_alignment=float(clip.mean()),
            diversity=maths.vendi(self._reference_features(self.encoders.dino, photos)),
            diversity_q=maths.VENDI_Q,
            within_prompt=None,
            dino_alignment=float(dino.mean()),
            nearest_mean=float(nearest.mean()),
            nearest_p95=float(np.percentile(nearest, 95)),
            nearest_max=float(nearest.max()),
        )

    def _reference_features(self, encoder: ImageEncoder, references: Sequence[Reference]) -> Features:
        return self._image_features(encoder, references, f"{encoder.name.split()[0]}: photos")

    def _image_features(
        self, encoder: ImageEncoder, items: Sequence[Picture] | Sequence[Reference], label: str
    ) -> Features:
        done = 0

        def report(count: int) -> None:
            nonlocal done
            everything_was_cached = done == 0 and count == len(items)
            done += count
            if not everything_was_cached:
                self.on_progress(label, done, len(items), "")

        found = encode_through(
            self.cache,
            fingerprint(encoder),
            encoder.width,
            [item.sha256 for item in items],
            lambda positions: self._full(
                encoder.images, [load_image(items[position].path) for position in positions]
            ),
            batch_size=self.batch_size,
            on_done=report,
            smaller=self._smaller,
        )
        _refuse_useless(found, [item.file for item in items], encoder)
        return found

    def _text_features(self, texts: Sequence[str]) -> Features:
        clip = self.encoders.clip
        distinct = list(dict.fromkeys(texts))
        for text, count in zip(distinct, clip.token_counts(distinct), strict=True):
            warning = (
                f"{text!r} has {count} tokens and {clip.name} reads {clip.context_length}; "
                "its text alignment covers the beginning only"
            )
            if count > clip.context_length and warning not in self.warnings:
                self.warnings.append(warning)
        return encode_through(
            self.cache,
            fingerprint(clip),
            clip.width,
            [hashlib.sha256(f"text {text}".encode()).hexdigest() for text in texts],
            lambda positions: self._full(clip.texts, [texts[position] for position in positions]),
            batch_size=self.batch_size,
            smaller=self._smaller,
        )

    def _smaller(self, size: int) -> None:
        self.warnings.append(
            f"the memory did not suffice for batches of {self.batch_size}; scored with --batch-size {size}"
        )
        self.batch_size = size

    def _full(self, encode: Callable[[Sequence[Any]], Features], items: Sequence[Any]) -> Features:
        """Encode fewer than a batch as one filled up with the last: the order in which a matrix product adds
        depends on its shape, and so would the last digits of a score on how much of a set was cached."""
        return encode([*items, *[items[-1]] * (self.batch_size - len(items))])[: len(items)]


def _per_prompt(
    pictures: Sequence[Picture], scores: Sequence[ImageScore], dino: Features
) -> list[PromptScore]:
    groups = [picture.prompt_index for picture in pictures]
    within = maths.vendi_by_group(dino, groups)
    without = maths.vendi_without_group(dino, groups)
    rows = []
    for prompt in sorted(within):
        first = next(picture for picture in pictures if picture.prompt_index == prompt)
        own = [score for score in scores if score.prompt_index == prompt]
        text_alignment = _mean([score.text_alignment for score in own])
        assert text_alignment is not None
        rows.append(
            PromptScore(
                prompt_index=prompt,
                template=first.template,
                text=first.text,
                n=len(own),
                text_alignment=text_alignment,
                concept_alignment=_mean([score.concept_alignment for score in own]),
                dino_alignment=_mean([score.dino_alignment for score in own]),
                nearest=_mean([score.nearest for score in own]),
                diversity=within[prompt] if len(own) > 1 else None,
                diversity_without=without.get(prompt),
            )
        )
    return rows


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


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
