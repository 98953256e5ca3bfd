"""The pictures of a sweep: a set of the concept and one of unrelated prompts at every point, on a base loaded once.

The sets lie in the run's sweep/, each complete or completed: a sweep that was killed goes on where it was, and one
that is asked for again draws nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from coeffdream.backbones.base import Base
from coeffdream.backbones.sampling import Sampling
from coeffdream.generation.request import GenerateRequest
from coeffdream.generation.sampler import SetSampler
from coeffdream.progress import Progress, unheard
from coeffdream.records.images import SetFolder
from coeffdream.records.run import RunFolder, RunRecord
from coeffdream.studies.sweep_options import SweepOptions

PLACE = "sweep"  # in the run's folder

At = tuple[int, float, float]  # step, strength of the low-rank part, strength of alpha


@dataclass(frozen=True)
class PointSets:
    """What was drawn at a point."""

    concept: SetFolder
    unrelated: SetFolder


@dataclass(frozen=True)
class Drawing:
    """All that was drawn, in the order of the steps, and how. `untouched`: by the base alone."""

    untouched: PointSets
    points: dict[At, PointSets]
    prompts: list[str]
    unrelated_prompts: list[str]
    sampling: Sampling


def draw_points(
    run: RunFolder,
    record: RunRecord,
    places: Sequence[At],
    options: SweepOptions,
    base: Base,
    progress: Progress,
    warn: Callable[[str], None],
) -> Drawing:
    """Complete the sets of every point. Raises UserError before anything is drawn when they cannot be."""
    own, unrelated = _samplers(run, record, base, options, places[0][0], progress, warn)

    def drawn(name: str) -> PointSets:
        return PointSets(
            own.draw_set(name, with_grid=False, last=False).folder,
            unrelated.draw_set(f"{name}-unrelated", with_grid=False, last=False).folder,
        )

    untouched, points = drawn("base"), {}
    for number, (step, lora, alpha) in enumerate(places):
        progress("sweep", number, len(places), f"step {step}")
        own.install_instead(
            dataclasses.replace(own.request, checkpoint=step, lora_scale=lora, alpha_scale=alpha)
        )
        unrelated.adopt(own)
        points[step, lora, alpha] = drawn(_name(step, lora, alpha))
    progress("sweep", len(places), len(places), "")
    return Drawing(untouched, points, list(own.jobs.templates), list(unrelated.jobs.templates), own.sampling)


def evenly(items: Sequence[str], count: int) -> tuple[str, ...]:
    """`count` of them, or all: the middle of each equal part."""
    count = min(count, len(items))
    return tuple(items[(2 * number + 1) * len(items) // (2 * count)] for number in range(count))


def _samplers(
    run: RunFolder,
    record: RunRecord,
    base: Base,
    options: SweepOptions,
    step: int,
    progress: Progress,
    warn: Callable[[str], None],
) -> tuple[SetSampler, SetSampler]:
    """For the concept's prompts and for unrelated ones, on one loaded base, nothing installed yet."""
    live = record.concept.live if record.concept else None

    def chosen(of_list: GenerateRequest) -> tuple[str, ...]:
        _, templates = of_list.templates(record.class_noun, live, toybox=base.is_toybox)
        return evenly(templates, options.prompts)

    request = GenerateRequest(
        prompts=chosen(GenerateRequest()),
        images_per_prompt=options.images_per_prompt,
        seed=options.seed,
        steps=options.steps,
        size=options.size,
        batch_size=options.batch_size,
        precision=options.precision,
        device=options.device,
        checkpoint=step,
    )
    own = SetSampler.open(request, run, record, base, progress, warn)
    other = dataclasses.replace(request, prompts=chosen(GenerateRequest(unrelated=True)), plain=True)
    unrelated = SetSampler.open(other, run, record, base, progress, unheard, own.components)
    own.place = unrelated.place = PLACE
    return own, unrelated


def _name(step: int, lora: float, alpha: float) -> str:
    words = [f"{step:06d}"]
    words += [f"lora{lora:g}"] if lora != 1 else []
    words += [f"alpha{alpha:g}"] if alpha != 1 else []
    return "-".join(words)
