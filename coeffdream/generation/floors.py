"""Where the untouched base's pictures lie that a set may take over."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from coeffdream import warm
from coeffdream.errors import RunError
from coeffdream.records.fields import record_to_json
from coeffdream.records.files import read_json, sha256_of_json, write_json
from coeffdream.records.images import ImagePlan, SetFolder, SetRecord
from coeffdream.records.latest import LATEST
from coeffdream.records.run import RunFolder


def sets_beside(run: RunFolder, plan: SetRecord, jobs: Sequence[ImagePlan]) -> Iterator[SetFolder]:
    """Sets of the runs beside this one. In a study the one that was noted: there are thousands, and each would read all."""
    if (note := _note(plan, jobs)) is None:
        for file in sorted(run.path.parent.glob("*/images/*/set.json")):
            if file.parents[2].name not in (run.path.name, LATEST):
                yield SetFolder(file.parent)
        return
    warm.fetched(note)
    noted = Path()
    with contextlib.suppress(RunError, TypeError, OSError):  # nothing is noted, or nothing that can be read
        noted = Path(*read_json(note))
    if noted.parts and not noted.is_absolute() and ".." not in noted.parts:
        yield SetFolder(warm.fetched(run.path.parent / noted))


def note_set(run: RunFolder, folder: SetFolder, plan: SetRecord, jobs: Sequence[ImagePlan]) -> None:
    """In a study, tell the cells to come that this set of the untouched base is whole."""
    if note := _note(plan, jobs):
        write_json(note, list(folder.path.resolve().relative_to(run.path.parent.resolve()).parts))


def _note(plan: SetRecord, jobs: Sequence[ImagePlan]) -> Path | None:
    """The note of these very pictures on this kind of device; None for who works for no study."""
    shared = warm.shared()
    if shared is None:
        return None
    pictures = [[job.text, job.seed] for job in jobs]
    key = sha256_of_json([record_to_json(plan.settings), plan.device, pictures])
    return shared / "floors" / f"{key[:24]}.json"
