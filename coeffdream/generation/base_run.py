"""Runs that train nothing: they hold pictures of the untouched base, or of several runs' adapters together."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from coeffdream.backbones.base import Base
from coeffdream.config import TrainConfig
from coeffdream.generation.plan import slug
from coeffdream.records.claim import attempt, in_use, is_husk, numbered
from coeffdream.records.environment import now
from coeffdream.records.run import RunFolder, RunRecord

LONGEST_NAME = 80


def base_run(base: Base, class_noun: str, token: str, runs: Path) -> tuple[RunFolder, RunRecord]:
    """The run of this base, class and token; the same one each time.

    Nothing is written: its folder is made when there is something to put into it.
    """
    record = RunRecord(
        name="base",
        status="base",
        created=now(),
        method="none",
        config=TrainConfig(base=base.name),
        base=base.record,
        class_noun=class_noun,
        token=token,
    )
    return place_of(record, runs)


def begin_run(record: RunRecord, runs: Path) -> tuple[RunFolder, RunRecord]:
    """Write the run.json of a run that trains nothing, unless another process has written it by now.

    Raises InUseError when another process keeps the folder and writes none.
    """
    for _ in range(20):
        run, record = place_of(record, runs)
        if run.record_file.is_file():
            return run, record
        claim = attempt(run.path, "generate")
        if claim is None:
            continue
        try:
            if run.create(record):
                return run, record
        finally:
            claim.release()
    raise in_use(run.path, f"run {run.path.name}", "wait until that has ended")


def place_of(record: RunRecord, runs: Path) -> tuple[RunFolder, RunRecord]:
    """Where this run is, or will be, and what it is called there."""
    if record.parts:
        name = slug(" and ".join(part.name for part in record.parts), LONGEST_NAME)
    else:
        name = slug(f"base {record.base.name}")
    tried = numbered(runs / name)
    return next(place for folder in tried if (place := _place_in(RunFolder(folder.resolve()), record)))


def _place_in(run: RunFolder, record: RunRecord) -> tuple[RunFolder, RunRecord] | None:
    """This folder where it is free or holds this very run, else None."""
    if not run.path.exists() or (run.path.is_dir() and is_husk(run.path)):
        return run, dataclasses.replace(record, name=run.path.name)
    if run.record_file.is_file():
        before = run.read()
        if dataclasses.replace(before, created=record.created, name=record.name) == record:
            return run, before
    return None
