"""The folder of a set: begun once, completed later, and the untouched base's pictures shared between runs."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coeffdream.errors import RunError
from coeffdream.generation.floors import sets_beside
from coeffdream.progress import unheard
from coeffdream.records.claim import Claim, attempt, in_use, is_husk, numbered
from coeffdream.records.files import replacing, sha256_of_file
from coeffdream.records.images import ImagePlan, ImageRecord, SetFolder, SetRecord
from coeffdream.records.run import RunFolder


@dataclass(frozen=True)
class Generated:
    """What came of it: the set's folder, how many images it holds, and how many of them needed no drawing.

    already_there: found in this very set. shared: the untouched base's, taken from a run beside this one.
    """

    folder: SetFolder
    count: int
    already_there: int
    shared: int = 0

    @property
    def images(self) -> list[ImageRecord]:
        return self.folder.read_images()


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


def begun_as(images: Path, plans: Sequence[SetRecord]) -> tuple[SetFolder | None, SetRecord | None]:
    """The set in the folder `images` that was begun with one of these plans, and that plan."""
    for folder in map(SetFolder, numbered(images / plans[0].name)):
        if not folder.set_file.exists():
            break
        begun = folder.read_set()
        for plan in plans:
            if _same_pictures(begun, plan):
                return folder, plan
    return None, None


def nothing_missing(
    run: RunFolder, begun: SetFolder | None, plan: SetRecord, jobs: Sequence[ImagePlan], adapted: bool
) -> bool:
    """Whether every picture of a set lies in it, or, of the untouched base, in a run beside this one."""
    there = intact(begun, jobs) if begun else {}
    if len(there) < len(jobs) and not adapted:
        there |= dict.fromkeys(drawn_beside(run, plan, jobs, there), 0)
    return len(there) == len(jobs)


def intact(folder: SetFolder, jobs: Sequence[ImagePlan]) -> dict[int, int]:
    """Where in the manifest the images are that are still there as they were drawn, by index."""
    return {
        image.index: offset
        for offset, image in folder.rows()
        if 0 <= image.index < len(jobs) and image.seed == jobs[image.index].seed and _unaltered(folder, image)
    }


def warn_of_another_device(
    folder: SetFolder, plan: SetRecord, there: Container[int], warn: Callable[[str], None]
) -> None:
    """Say so where a set that another kind of device began is completed on this one."""
    began = folder.read_set().device
    if began and began != plan.device and any(index in there for index in range(plan.expected)):
        warn(
            f"{folder.path.name} was begun on {began} and goes on on {plan.device}, which rounds differently; for pictures "
            "of one kind remove it, or give --set"
        )


def as_made(folder: SetFolder, job: ImagePlan) -> ImageRecord:
    """The row of a picture that lies in the set."""
    return ImageRecord(**vars(job), sha256=sha256_of_file(folder.path / job.file))


def take_over_beside(
    run: RunFolder,
    folder: SetFolder,
    plan: SetRecord,
    jobs: Sequence[ImagePlan],
    there: dict[int, int],
    warn: Callable[[str], None],
) -> int:
    """Use what the untouched base drew for a run beside this one; how many pictures that were, which are `there` now."""
    beside = drawn_beside(run, plan, jobs, there, warn)
    for index in sorted(beside):
        take_over(beside[index], folder.path / jobs[index].file)
    folder.append_images(as_made(folder, jobs[index]) for index in sorted(beside))
    there |= dict.fromkeys(beside, 0)
    return len(beside)


def drawn_beside(
    run: RunFolder,
    plan: SetRecord,
    jobs: Sequence[ImagePlan],
    there: Container[int],
    warn: Callable[[str], None] = unheard,
) -> dict[int, Path]:
    """Pictures of the jobs not `there` that the untouched base drew for a run beside this one, by index.

    What the base draws depends on neither method nor training, so a picture is taken over where all
    settings of its set (base, steps, guidance, size, ...), the text that the encoders read and the seed
    are those of the job, and the file is as its manifest says. `warn` hears of those that another kind of device
    drew, which are left: its rounding is another.
    """
    found: dict[int, Path] = {}
    for other in sets_beside(run, plan, jobs):
        with contextlib.suppress(RunError):  # a damaged neighbour has nothing to give
            theirs = other.read_set()
            if theirs.settings != plan.settings:
                continue
            if theirs.device != plan.device:
                drew = theirs.device or "a device that it does not tell"
                warn(
                    f"what {drew} drew in {other.path} is not taken over on {plan.device}: it is drawn again"
                )
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
