"""In what runs must be alike to be compared, and the words with which unequal ones are refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

from coeffdream.compare.scored import ScoredRun
from coeffdream.errors import ScoreError, together
from coeffdream.records.base import BaseRecord
from coeffdream.records.encoders import EncoderRecord, EncoderRecords
from coeffdream.records.files import sha256_of_json
from coeffdream.records.images import OF_THE_ADAPTER, SetSettings

# What an encoder says of itself that changes no score: the hashes of weights and config say which it is.
NOT_THE_ENCODER = {"name", "model", "pretrained", "versions"}

Field = tuple[str, Callable[[ScoredRun], Any]]


def _prompts(run: ScoredRun) -> str:
    return f"{run.scores.set.prompts} ({_short(run.scores.set.prompts_sha256)})"


def _texts(run: ScoredRun) -> str:
    return f"of class {run.scores.source.class_noun!r} ({_short(run.scores.set.texts_sha256)})"


def _image_seeds(run: ScoredRun) -> str:
    seeds = [image.seed for image in run.scores.per_image if image.seed is not None]
    span = f"{min(seeds)} to {max(seeds)}" if seeds else "unknown"
    return f"{span} ({_short(run.scores.set.seeds_sha256)})"


def _photos(run: ScoredRun) -> str:
    """All photos of the concept; which of them are held out follows from the training seed."""
    scores = run.scores
    references = [photo.sha256 for photo in scores.references]
    if scores.learned is None:
        return f"{len(references)} photos ({_short(sha256_of_json(references))})"
    photos = sorted([*references, *(photo.sha256 for photo in scores.learned.references)])
    return f"{len(photos)} photos ({_short(sha256_of_json(photos))}), {len(references)} of them held out"


def _masks(run: ScoredRun) -> str:
    """Of all photos of the concept, whichever of them are held out; None for a photo without one."""
    learned = run.scores.learned.references if run.scores.learned else []
    photos = sorted([*run.scores.references, *learned], key=lambda photo: photo.sha256)
    return _short(sha256_of_json([photo.mask_sha256 for photo in photos]))


def _references(run: ScoredRun) -> str:
    photos = run.scores.references
    return f"{', '.join(photo.file for photo in photos)} ({_short(sha256_of_json([photo.sha256 for photo in photos]))})"


EVERYWHERE: list[Field] = [
    ("score text", lambda run: run.scores.score_text),
    ("base", lambda run: _Base(run.scores.source.base or run.record.base)),
]
INSIDE_A_CONCEPT: list[Field] = [
    ("references", _photos),
    ("prompts", _prompts),
    ("scored texts", _texts),
    ("n", lambda run: run.scores.overall.n),
    ("images per prompt", lambda run: run.scores.overall.images_per_prompt),
    ("image seeds", _image_seeds),
]
# With one training seed; another may hold out others.
INSIDE_A_SEED: list[Field] = [("held-out photos", _references)]

# Where the thing was looked for in the photos; None for their own alpha channels, or whole photos.
MASKS: list[Field] = [("masks of the photos", _masks)]
# Everything that an encoder says of itself and that could change a score, by the encoder.
ENCODERS: dict[str, list[Field]] = {
    encoder.name: [
        (f"encoder {encoder.name} {field.name}", attrgetter(f"scores.encoders.{encoder.name}.{field.name}"))
        for field in dataclasses.fields(EncoderRecord)
        if field.name not in NOT_THE_ENCODER
    ]
    for encoder in dataclasses.fields(EncoderRecords)
}
# Everything that says how the pictures were drawn, but for the adapter; the untouched base has nothing to fold.
DRAWING: list[Field] = [
    (f"drawing setting {field.name}", attrgetter(f"scores.set.settings.{field.name}"))
    for field in dataclasses.fields(SetSettings)
    if field.name not in {*OF_THE_ADAPTER, "base"} - {"folded"}
]


class _Base:
    """A base model as it is compared and shown."""

    def __init__(self, base: BaseRecord) -> None:
        self._base = base

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Base) and self._base.same_as(other._base)

    def __str__(self) -> str:
        of = self._base.architecture
        return self._base.name + (f" (architecture {_short(of)})" if of else "")


def refuse_different(runs: Sequence[ScoredRun], fields: Sequence[Field]) -> None:
    """Raises ScoreError that names every field in which a run differs from the first, with both values."""
    first = next(iter(runs), None)
    if first is None:
        return
    problems = []
    for name, value in fields:
        one = value(first)
        other = next((run for run in runs[1:] if value(run) != one), None)
        if other is not None:
            where, this, that = _innermost(one, value(other))
            problems.append(
                f"{name}{where} is {_short(this)} in {first.name}, {_short(that)} in {other.name}"
            )
    if problems:
        raise ScoreError(
            together(
                "these runs cannot be compared; draw and score them alike (coeffdream generate, then eval)",
                problems,
            )
        )


def _innermost(one: Any, two: Any, path: str = "") -> tuple[str, Any, Any]:
    """The first place in which two JSON objects differ."""
    if isinstance(one, dict) and isinstance(two, dict):
        for key in sorted(one.keys() | two.keys()):
            if one.get(key) != two.get(key):
                return _innermost(one.get(key), two.get(key), f"{path} {key}")
    return path, one, two


def _short(value: Any) -> str:
    text = str(value)
    return text[:12] if len(text) == 64 and text.isalnum() else text
