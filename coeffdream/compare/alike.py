"""In what runs must be alike to be compared, and the words with which unequal ones are refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from coeffdream.compare.scored import ScoredRun
from coeffdream.errors import ScoreError, together
from coeffdream.records.base import same_weights
from coeffdream.records.files import sha256_of_json
from coeffdream.records.images import OF_THE_ADAPTER

# What an encoder says of itself that changes no score: the hashes of weights and config say which it is.
NOT_THE_ENCODER = {"name", "model", "pretrained", "versions"}

Field = tuple[str, Callable[[ScoredRun], Any]]


def _prompts(run: ScoredRun) -> str:
    return f"{run.scores.set.get('prompts')} ({_short(run.scores.set.get('prompts_sha256'))})"


def _texts(run: ScoredRun) -> str:
    return f"of class {run.scores.source.get('class_noun')!r} ({_short(run.scores.set.get('texts_sha256'))})"


def _image_seeds(run: ScoredRun) -> str:
    seeds = [image.seed for image in run.scores.per_image if image.seed is not None]
    span = f"{min(seeds)} to {max(seeds)}" if seeds else "unknown"
    return f"{span} ({_short(run.scores.set.get('seeds_sha256'))})"


def _references(run: ScoredRun) -> str:
    hashes = [reference["sha256"] for reference in run.scores.references]
    return f"{len(hashes)} photos ({_short(sha256_of_json(hashes))})"


EVERYWHERE: list[Field] = [
    ("score text", lambda run: run.scores.score_text),
    ("base", lambda run: _Base(run.scores.source.get("base") or {})),
]
INSIDE_A_CONCEPT: list[Field] = [
    ("references", _references),
    ("prompts", _prompts),
    ("scored texts", _texts),
    ("n", lambda run: run.scores.overall.n),
    ("images per prompt", lambda run: run.scores.overall.images_per_prompt),
    ("image seeds", _image_seeds),
]


def encoder_fields(runs: Sequence[ScoredRun]) -> list[Field]:
    """Everything that the encoders of these runs say of themselves and that could change a score."""
    return [
        (f"encoder {encoder} {key}", lambda run, e=encoder, k=key: run.scores.encoders[e].get(k))  # type: ignore[misc]
        for encoder in ("clip", "dino")
        for key in sorted({key for run in runs for key in run.scores.encoders[encoder]} - NOT_THE_ENCODER)
    ]


def drawing_fields(runs: Sequence[ScoredRun]) -> list[Field]:
    """Everything that says how these runs' pictures were drawn, but for the adapter."""
    keys = {key for run in runs for key in run.scores.set.get("settings", {})} - {*OF_THE_ADAPTER, "base"}
    return [
        (f"drawing setting {key}", lambda run, k=key: run.scores.set.get("settings", {}).get(k))  # type: ignore[misc]
        for key in sorted(keys)
    ]


class _Base:
    """A base model: equal to another of the same architecture whose sketch of weights is the same."""

    def __init__(self, identity: dict[str, Any]) -> None:
        self._identity = identity

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Base):
            return NotImplemented
        one, two = self._identity, other._identity
        if "architecture" not in one or "architecture" not in two:
            return one.get("name") == two.get("name")
        return one["architecture"] == two["architecture"] and same_weights(
            one.get("sketch", []), two.get("sketch", [])
        )

    def __str__(self) -> str:
        of = self._identity.get("architecture")
        return str(self._identity.get("name")) + (f" (architecture {_short(of)})" if of else "")


def refuse_different(runs: Sequence[ScoredRun], fields: Sequence[Field]) -> None:
    """Raises ScoreError that names every field in which a run differs from the first, with both values."""
    first = runs[0]
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
