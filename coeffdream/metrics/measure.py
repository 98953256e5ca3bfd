"""Pictures and photos to scores: every score that was chosen, each by its own function in the registry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from coeffdream.metrics import features as maths
from coeffdream.metrics.encoder import Features
from coeffdream.metrics.encoding import Encoding
from coeffdream.metrics.inputs import Picture, Reference
from coeffdream.metrics.registry import DEFAULT, SCORES, Columns, Score
from coeffdream.records.scores import DriftImage, ImageScore, PromptScore, Summary, which


@dataclass(frozen=True)
class Scored:
    """The scores of one set of pictures."""

    summary: Summary
    per_prompt: list[PromptScore]
    per_image: list[ImageScore]


@dataclass
class Scorer(Encoding):
    """The encoders, and the scores to make with them."""

    scores: Sequence[Score] = tuple(SCORES[name] for name in DEFAULT)

    def makes(self, name: str) -> bool:
        return SCORES[name] in self.scores

    def pictures(self, pictures: Sequence[Picture], references: Sequence[Reference]) -> Scored:
        """Score a set; the photo metrics stay None when there are no references."""
        columns: Columns = {}
        for score in self.scores:
            if score.of_pictures is not None and (references or not score.photos):
                columns |= score.of_pictures(self, pictures, references)
        per_image = [
            ImageScore(
                **which(picture),
                **_NONE_OF_A_PICTURE | {field: values[row] for field, values in columns.items()},
            )
            for row, picture in enumerate(pictures)
        ]
        dino = self._dino(pictures) if self.makes("diversity") else None
        per_prompt = _per_prompt(pictures, per_image, dino)
        within = [prompt.diversity for prompt in per_prompt if prompt.diversity is not None]
        means = {
            field: _mean(values)
            for field, values in columns.items()
            if field in _FIELDS and not field.startswith("nearest")
        }
        summary = Summary(
            n=len(pictures),
            prompts=len(per_prompt),
            images_per_prompt=max(prompt.n for prompt in per_prompt),
            references=len(references),
            **_NONE_OF_A_SET
            | means
            | {
                "diversity": None if dino is None else maths.vendi(dino),
                "diversity_q": maths.VENDI_Q,
                "within_prompt": _mean(within),
            }
            | (maths.spread(columns["nearest"]) if "nearest" in columns else {}),
        )
        return Scored(summary, per_prompt, per_image)

    def drift(self, pictures: Sequence[Picture], untouched: Sequence[Picture]) -> list[DriftImage]:
        """What became of unrelated prompts; both in one order, a pair at each place."""
        pairs = [*pictures, *untouched]
        count = len(pictures)
        dino = self._dino(pairs, "unrelated")
        by_dino = maths.drift(dino[:count], dino[count:])
        by_clip: Sequence[float | None] = [None] * count
        text: Sequence[float | None] = [None] * len(pairs)
        if self.encoders.clip is not None:
            clip = self.image_features(self.encoders.clip, pairs, "unrelated")
            by_clip = maths.drift(clip[:count], clip[count:]).tolist()
            text = maths.text_alignment(clip, self.text_features([each.text for each in pairs])).tolist()
        return [
            DriftImage(
                prompt_index=picture.prompt_index,
                image_index=picture.image_index,
                seed=picture.seed or 0,
                file=picture.file,
                base_file=other.file,
                dino=float(by_dino[row]),
                clip=by_clip[row],
                text_alignment=text[row],
                base_text_alignment=text[count + row],
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
        values: dict[str, float] = {}
        for score in self.scores:
            if score.of_photos is not None:
                values |= score.of_photos(self, references, learned)
        return Summary(
            n=len(photos),
            prompts=0,
            images_per_prompt=0,
            references=len(references),
            **_NONE_OF_A_SET
            | {
                "diversity": maths.vendi(self._dino(photos, "photos")) if self.makes("diversity") else None,
                "diversity_q": maths.VENDI_Q,
            }
            | values,
        )

    def _dino(self, items: Sequence[Picture] | Sequence[Reference], what: str = "pictures") -> Features:
        assert self.encoders.dino is not None
        return self.image_features(self.encoders.dino, items, what)


_FIELDS = {each.name for each in fields(Summary)}
# What stands where a score was not made.
_NONE_OF_A_PICTURE: dict[str, Any] = dict.fromkeys(
    ("text_alignment", "concept_alignment", "dino_alignment", "nearest")
)
_NONE_OF_A_SET: dict[str, Any] = dict.fromkeys(
    (
        *("text_alignment", "concept_alignment", "diversity", "within_prompt", "dino_alignment"),
        *("nearest_mean", "nearest_p95", "nearest_max"),
    )
)


def _per_prompt(
    pictures: Sequence[Picture], scores: Sequence[ImageScore], dino: Features | None
) -> list[PromptScore]:
    groups = [picture.prompt_index for picture in pictures]
    within = {} if dino is None else maths.vendi_by_group(dino, groups)
    without = {} if dino is None else maths.vendi_without_group(dino, groups)
    rows = []
    for prompt in sorted(set(groups)):
        first = next(picture for picture in pictures if picture.prompt_index == prompt)
        own = [score for score in scores if score.prompt_index == prompt]
        rows.append(
            PromptScore(
                prompt_index=prompt,
                template=first.template,
                text=first.text,
                n=len(own),
                text_alignment=_mean([score.text_alignment for score in own]),
                concept_alignment=_mean([score.concept_alignment for score in own]),
                dino_alignment=_mean([score.dino_alignment for score in own]),
                nearest=_mean([score.nearest for score in own]),
                diversity=within.get(prompt) if len(own) > 1 else None,
                diversity_without=without.get(prompt),
            )
        )
    return rows


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
