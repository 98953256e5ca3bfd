"""Drawing what a request asks for into a run, and the run that stands for the untouched base."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from coeffdream.backbones.base import Base
from coeffdream.config import TrainConfig
from coeffdream.errors import RunError
from coeffdream.generation.plan import slug
from coeffdream.generation.request import GenerateRequest
from coeffdream.generation.sampler import Generated, SetSampler
from coeffdream.progress import Progress
from coeffdream.records.environment import now
from coeffdream.records.run import RunFolder, RunRecord


def generate(
    request: GenerateRequest,
    run: RunFolder,
    record: RunRecord,
    base: Base,
    *,
    grid: bool,
    progress: Progress,
    warn: Callable[[str], None],
) -> Generated:
    """Draw the images that `request` asks for into `run`. A set that was cut short is completed.

    `record` is the run's run.json; a run that is not on disk yet (`base_run`) is written with its first set.

    Raises UserError before anything is drawn when the request, the run or the base do not fit.
    """
    sampler = SetSampler.open(request, run, record, base, progress, warn)
    if not request.no_adapter:
        sampler.install()
    return sampler.draw_set(request.set_name or request.default_set_name, with_grid=grid)


def generate_unrelated(
    request: GenerateRequest,
    run: RunFolder,
    record: RunRecord,
    base: Base,
    *,
    grid: bool,
    progress: Progress,
    warn: Callable[[str], None],
) -> tuple[Generated, Generated]:
    """Draw the unrelated prompts with the adapter, and once more with the untouched base (NAME-base)."""
    sampler = SetSampler.open(request, run, record, base, progress, warn)
    name = request.set_name or request.default_set_name
    untouched = sampler.draw_set(f"{name}-base", with_grid=grid)
    sampler.install()
    return sampler.draw_set(name, with_grid=grid), untouched


def base_run(base: Base, class_noun: str, token: str, runs: Path) -> tuple[RunFolder, RunRecord]:
    """A run that trains nothing and holds pictures of the untouched base; the same one each time.

    Nothing is written: its folder is made when there is something to put into it.
    """
    record = RunRecord(
        name=slug(f"base {base.name}"),
        status="base",
        created=now(),
        method="none",
        config=TrainConfig(base=base.name),
        base=base.record,
        class_noun=class_noun,
        token=token,
    )
    for number in range(1, 10_000):
        name = record.name if number == 1 else f"{record.name}-{number}"
        run = RunFolder((runs / name).resolve())
        if not run.path.exists():
            return run, dataclasses.replace(record, name=name)
        if run.record_file.is_file():
            before = run.read()
            if dataclasses.replace(before, created=record.created, name=record.name) == record:
                return run, before
    raise RunError(f"{runs} holds 10,000 runs called {record.name!r}; remove some")
