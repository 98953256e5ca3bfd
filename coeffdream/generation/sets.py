"""The folder of a set: begun once, completed later, and the untouched base's pictures shared between runs."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import Any

from coeffdream.errors import RunError
from coeffdream.records.claim import Claim, attempt, in_use, is_husk, numbered
from coeffdream.records.files import replacing, sha256_of_file
from coeffdream.records.images import ImagePlan, ImageRecord, SetFolder, SetRecord
from coeffdream.records.latest import LATEST
from coeffdream.records.run import RunFolder


@contextlib.contextmanager
def claimed_set(images: Path, plan: SetRecord) -> Iterator[SetFolder]:
    """Hold the folder of this very set if it was begun before, else a new one with its set.json.

    images: the folder of a run that its sets lie in. No other set's folder is ever given. Raises InUseError when
    another process draws this set.
    """
    for folder in map(SetFolder, numbered(images / plan.name)):
        claim = _claim(folder, dataclasses.replace(plan, name=folder.path.name))
        if claim is None:
            continue
        try:
            yield folder
            return
        finally:
            claim.release()


def _claim(folder: SetFolder, plan: SetRecord) -> Claim | None:
    """The claim of a folder that holds the set `plan`, or holds it from now on; None when it is another's."""
    for _ in range(20):  # a neighbour that claimed the folder says in a moment what set it is
        if folder.set_file.exists():
            if not _same_pictures(folder.read_set(), plan):
                return None
        elif folder.path.exists() and not (folder.path.is_dir() and is_husk(folder.path)):
            return None
        claim = attempt(folder.path, "generate")
        if claim is None:
            if folder.set_file.exists():
                break
            continue
        kept = False
        try:
            kept = folder.create(plan) or _same_pictures(folder.read_set(), plan)
        finally:
            if not kept:
                claim.release()
        return claim if kept else None
    if folder.set_file.exists() and not _same_pictures(folder.read_set(), plan):
        return None
    what = f"the set {folder.path.name} of {folder.path.parents[1].name}"
    raise in_use(folder.path, what, "wait until that has ended, or give --set")


def _same_pictures(one: SetRecord, other: SetRecord) -> bool:
    def key(record: SetRecord) -> list[Any]:
        return [record.settings, record.templates, record.class_noun, record.images_per_prompt]

    return key(one) == key(other)


def intact(folder: SetFolder, jobs: Sequence[ImagePlan]) -> dict[int, int]:
    """Where in the manifest the images are that are still there as they were drawn, by index."""
    return {
        image.index: offset
        for offset, image in folder.rows()
        if 0 <= image.index < len(jobs) and image.seed == jobs[image.index].seed and _unaltered(folder, image)
    }


def drawn_beside(
    run: RunFolder, plan: SetRecord, jobs: Sequence[ImagePlan], there: Container[int]
) -> dict[int, Path]:
    """Pictures of the jobs not `there` that the untouched base drew for a run beside this one, by index.

    What the base draws depends on neither method nor training, so a picture is taken over where all
    settings of its set (base, steps, guidance, size, ...), the text that the encoders read and the seed
    are those of the job, and the file is as its manifest says.
    """
    found: dict[int, Path] = {}
    for file in sorted(run.path.parent.glob("*/images/*/set.json")):
        other = SetFolder(file.parent)
        if file.parents[2].name in (run.path.name, LATEST):
            continue
        with contextlib.suppress(RunError):  # a damaged neighbour has nothing to give
            if other.read_set().settings != plan.settings:
                continue
            for _, image in other.rows():
                index = image.seed - jobs[0].seed
                if not 0 <= index < len(jobs) or index in there or index in found:
                    continue
                if jobs[index].text == image.text and _unaltered(other, image):
                    found[index] = other.path / image.file
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
