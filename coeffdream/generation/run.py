"""Drawing what a request asks for into a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from coeffdream.backbones.base import Base
from coeffdream.generation.request import GenerateRequest
from coeffdream.generation.sampler import SetSampler
from coeffdream.generation.sets import Generated
from coeffdream.progress import Progress
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
    if request.adapts:
        sampler.install()
    return sampler.draw_set(request.set_name or request.default_set_name, with_grid=grid)


def generate_beside_base(
    request: GenerateRequest,
    run: RunFolder,
    record: RunRecord,
    base: Base,
    *,
    grid: bool,
    progress: Progress,
    warn: Callable[[str], None],
) -> tuple[Generated, Generated]:
    """Draw what `request` asks for with the adapter, and before it once more with the untouched base, into NAME-base:
    the floor, or of the unrelated prompts what drift is measured from."""
    sampler = SetSampler.open(request, run, record, base, progress, warn)
    own = request.set_name or request.default_set_name
    shared = request.set_name or dataclasses.replace(request, checkpoint=None).default_set_name
    untouched = sampler.draw_set(f"{shared}-base", with_grid=grid, last=False)
    sampler.install()
    return sampler.draw_set(own, with_grid=grid), untouched
