"""The untouched base's sets of a run: the floor, and one half of the drift on unrelated prompts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from coeffdream.metrics.inputs import Picture, hashes
from coeffdream.metrics.measure import Scorer
from coeffdream.records.images import OF_THE_ADAPTER, SetFolder, SetRecord
from coeffdream.records.scores import Drift

Pictures = Callable[[SetFolder, SetRecord], list[Picture]]


def find_floor(images: Path, own: SetFolder, record: SetRecord, warnings: list[str]) -> SetFolder | None:
    """The newest complete set of this run that the untouched base drew for the same prompts and seeds."""
    return _counterpart(images, own, record, "the floor", warnings) if record.with_adapter else None


def measure_drift(scorer: Scorer, images: Path, scored: SetRecord, pictures_of: Pictures) -> Drift | None:
    """Drift of the adapter that drew the set `scored`; None when its unrelated sets are not there.

    Unrelated sets by another adapter or at other strengths, and base sets whose seeds or settings differ,
    are passed over; the scorer's warnings name the field.
    """
    own = _unrelated_set(images, scored, scorer.warnings) if scored.with_adapter else None
    if own is None:
        return None
    folder, record = own
    base = _counterpart(images, folder, record, f"the counterpart of {record.name!r}", scorer.warnings)
    if base is None:
        return None
    pictures = pictures_of(folder, record)
    pairs = scorer.drift(pictures, pictures_of(base, base.read_set()))

    def mean(name: str) -> float | None:
        values = [getattr(pair, name) for pair in pairs]
        return None if None in values else float(np.mean(values, dtype=np.float64))

    same = hashes(pictures)
    return Drift(
        set=folder.path.name,
        base_set=base.path.name,
        prompts=record.prompts,
        n=len(pairs),
        images_per_prompt=record.images_per_prompt,
        dino=float(np.mean([pair.dino for pair in pairs], dtype=np.float64)),
        clip=mean("clip"),
        text_alignment=mean("text_alignment"),
        base_text_alignment=mean("base_text_alignment"),
        prompts_sha256=same.prompts_sha256,
        seeds_sha256=same.seeds_sha256,
        settings=record.settings,
        per_image=pairs,
    )


def _unrelated_set(
    images: Path, scored: SetRecord, warnings: list[str]
) -> tuple[SetFolder, SetRecord] | None:
    """The newest complete set of unrelated prompts by the adapter that drew `scored`, at the same strengths."""
    candidates = []
    for folder, record in _sets(images):
        if record.kind != "unrelated" or not record.with_adapter:
            continue
        name = f"the set {record.name!r} is no drift of these pictures"
        differ = [key for key in record.settings.differing(scored.settings) if key in OF_THE_ADAPTER]
        made = len(folder.read_images())
        if differ:
            warnings.append(f"{name}: its {', '.join(differ)} differ")
        elif made < record.expected:
            warnings.append(f"{name}: it holds {made} of {record.expected} images")
        else:
            candidates.append((folder, record))
    return max(candidates, key=lambda each: (each[1].created, each[1].name), default=None)


def _counterpart(
    images: Path, own: SetFolder, record: SetRecord, what: str, warnings: list[str]
) -> SetFolder | None:
    """The newest complete set by the untouched base with the prompts, seeds and settings of `own`."""
    seeds = {(row.prompt_index, row.image_index, row.seed) for row in own.read_images()}
    candidates = []
    for folder, other in _sets(images):
        if folder.path == own.path or other.with_adapter or other.templates != record.templates:
            continue
        devices = [each.device or "an unknown device" for each in (record, other)]
        name = f"the untouched base's set {other.name!r} is not {what}"
        rows = folder.read_images()
        differ = [key for key in record.settings.differing(other.settings) if key not in OF_THE_ADAPTER]
        if len(rows) < other.expected:
            warnings.append(f"{name}: it holds {len(rows)} of {other.expected} images")
        elif differ:
            warnings.append(f"{name}: its {', '.join(differ)} differ")
        elif {(row.prompt_index, row.image_index, row.seed) for row in rows} != seeds:
            warnings.append(f"{name}: its seeds differ")
        else:
            if devices[0] != devices[1]:
                warnings.append(
                    f"{other.name!r} was drawn on {devices[1]} and {record.name!r} on {devices[0]}"
                )
            candidates.append((other.created, other.name, folder))
    return max(candidates, key=lambda row: row[:2])[2] if candidates else None


def _sets(images: Path) -> list[tuple[SetFolder, SetRecord]]:
    folders = [SetFolder(path.parent) for path in sorted(images.glob("*/set.json"))]
    return [(folder, folder.read_set()) for folder in folders]
