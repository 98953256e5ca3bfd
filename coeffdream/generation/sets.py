"""The folder of a set: begun once, completed later, and the untouched base's pictures shared between runs."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from coeffdream.errors import RunError
from coeffdream.records.files import replacing, sha256_of_file
from coeffdream.records.images import ImagePlan, ImageRecord, SetFolder, SetRecord
from coeffdream.records.run import LATEST, RunFolder


def place_of(run: RunFolder, plan: SetRecord) -> SetFolder:
    """The folder of this very set if it was begun before, else a free one, without set.json yet.

    Nothing is written, and no other set's folder is ever given.
    """
    for number in range(1, 1000):
        name = plan.name if number == 1 else f"{plan.name}-{number}"
        folder = SetFolder(run.images / name)
        if not folder.set_file.exists():
            if folder.path.exists() and any(folder.path.iterdir()):
                continue
            return folder
        if _same_pictures(folder.read_set(), plan):
            return folder
    raise RunError(f"{run.images} holds 1,000 sets called {plan.name}; remove some")


def _same_pictures(one: SetRecord, other: SetRecord) -> bool:
    def key(record: SetRecord) -> list[Any]:
        return [record.settings, record.templates, record.class_noun, record.images_per_prompt]

    return key(one) == key(other)


def intact(folder: SetFolder, jobs: Sequence[ImagePlan]) -> dict[int, ImageRecord]:
    """The images of the manifest that are still there as they were drawn, by index."""
    planned = {job.index: job for job in jobs}
    return {
        image.index: image
        for image in folder.read_images()
        if image.index in planned and image.seed == planned[image.index].seed and _unaltered(folder, image)
    }


def drawn_beside(run: RunFolder, plan: SetRecord, jobs: Sequence[ImagePlan]) -> dict[int, Path]:
    """Pictures of `jobs` that the untouched base drew for a run beside this one, by index.

    What the base draws depends on neither method nor training, so a picture is taken over where all
    settings of its set (base, steps, guidance, size, ...), the text that the encoders read and the seed
    are those of the job, and the file is as its manifest says.
    """
    wanted = {(job.text, job.seed): job for job in jobs}
    found: dict[int, Path] = {}
    for file in sorted(run.path.parent.glob("*/images/*/set.json")):
        other = SetFolder(file.parent)
        if file.parents[2].name in (run.path.name, LATEST) or len(found) == len(jobs):
            continue
        with contextlib.suppress(RunError):  # a damaged neighbour has nothing to give
            if other.read_set().settings != plan.settings:
                continue
            for image in other.read_images():
                job = wanted.get((image.text, image.seed))
                if job is not None and job.index not in found and _unaltered(other, image):
                    found[job.index] = other.path / image.file
    return found


def _unaltered(folder: SetFolder, image: ImageRecord) -> bool:
    path = folder.path / image.file
    return path.is_file() and sha256_of_file(path) == image.sha256


def take_over(source: Path, target: Path) -> None:
    """One file under two names where the disk can do that: a study shares gigabytes of them."""
    with replacing(target) as temporary:
        temporary.unlink(missing_ok=True)
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
