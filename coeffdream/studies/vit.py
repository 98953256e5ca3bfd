"""Does alpha help when a pretrained vision transformer is tuned on few images? Tables 1 and 2 of arXiv 2503.18337.

A cell is one training: a task, an arm, a seed. Arms of one task and seed see the same pictures in the same order and
begin with the same head, so they are paired. Every cell is kept as it ends; the same study asked for again goes on.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from coeffdream.backbones.device import pick_device
from coeffdream.backbones.threads import settle_threads
from coeffdream.errors import NonFiniteLossError
from coeffdream.progress import Progress
from coeffdream.records.fields import Count, Positive, Text
from coeffdream.records.files import write_json
from coeffdream.studies.cells import Tell, study_folder, train_absent
from coeffdream.studies.fit import Group, fit
from coeffdream.studies.vit_arms import install
from coeffdream.studies.vit_backbone import SIDE, Backbone, Look, correct, keep, named, small
from coeffdream.studies.vit_flops import gflops
from coeffdream.studies.vit_options import VitOptions
from coeffdream.studies.vit_pictures import Task, digits_task, folder_name, folder_task, world_task

Share = Annotated[float, Meta(ge=0, le=1)]

NOT_OF_A_CELL = ("tasks", "arms", "seeds", "device")
PRETRAINING_SEED, PRETRAINING_LR = 0, 1e-3


@dataclass(frozen=True)
class Cell:
    """One training. accuracy: share of `tested` pictures given their class. parameters: trained, but for the head's.

    rates: learning rates of the head, of alpha, and of what else the arm trains.
    """

    task: Text
    arm: Text
    seed: Count
    accuracy: Share
    tested: Positive
    loss: float
    parameters: Count
    head_parameters: Positive
    gflops: float
    rates: dict[str, float]


def study(out: Path, options: VitOptions, progress: Progress) -> list[Cell]:
    """Every cell that the options ask for, those that `out` holds already as they are. Raises UserError."""
    tasks = [folder_name(options.data)] if options.data else options.chosen_tasks
    if options.data or "digits" in tasks:  # which may not be there: told now, not after a pretraining
        _task("digits", options, SIDE, progress)
    loaded = _loaded(options) if options.backbone else None
    with study_folder(out, f"study {options.study}", options, NOT_OF_A_CELL):
        backbone = loaded or _small(out, options, progress)
        settle_threads(backbone.model)

        @functools.lru_cache(maxsize=1)
        def task(name: str) -> Task:
            return _task(name, options, backbone.look.side, progress)

        def train(key: tuple[str, str, int], tell: Tell) -> Cell:
            return train_cell(task(key[0]), key[1], key[2], backbone, options, tell)

        seeds, arms = range(options.seeds), options.chosen_arms
        wanted = [(name, arm, seed) for name in tasks for seed in seeds for arm in arms]
        return train_absent(out, Cell, wanted, train, progress)


def train_cell(task: Task, arm: str, seed: int, backbone: Backbone, options: VitOptions, tell: Tell) -> Cell:
    """One training and what it reached."""
    model = backbone.for_task(len(task.classes), seed)
    groups = install(model, arm, options, seed)
    counts = {kind: sum(each.numel() for each in group.parameters) for kind, group in groups.items()}
    head = counts.pop("head")
    cost = gflops(model, backbone.look.side)
    loss = _fit(model, list(groups.values()), task, backbone.look, options, options.epochs, seed, tell)
    if not math.isfinite(loss):
        raise NonFiniteLossError(
            f"{task.name}, {arm}, seed {seed}: the loss is {loss}; study again in another --out with a lower --head-lr, "
            "--lr or --coeff-lr"
        )
    right = correct(model, task.test, backbone.look, options.batch_size)
    return Cell(
        task=task.name,
        arm=arm,
        seed=seed,
        accuracy=sum(right) / len(right),
        tested=len(right),
        loss=loss,
        parameters=sum(counts.values()),
        head_parameters=head,
        gflops=cost,
        rates={kind: group.lr for kind, group in groups.items()},
    )


def _fit(
    model: Any,
    groups: Sequence[Group],
    task: Task,
    look: Look,
    options: VitOptions,
    epochs: int,
    seed: int,
    tell: Tell,
) -> float:
    return fit(
        model,
        groups,
        task.train,
        look.batch,
        epochs=epochs,
        batch_size=options.batch_size,
        seed=seed,
        device=pick_device(options.device).type,
        tell=tell,
    )


def _task(name: str, options: VitOptions, side: int, progress: Progress) -> Task:
    if options.data:
        return folder_task(Path(options.data), side, options.train_images, options.test_images)
    if name == "digits":
        return digits_task(side, options.train_images, options.test_images)
    return world_task(name, side, options.train_images, options.test_images, progress)


def _loaded(options: VitOptions) -> Backbone:
    """The backbone that was named. Raises UserError when it is not there or an arm cannot tune it."""
    assert options.backbone
    backbone = named(options.backbone)
    for arm in options.chosen_arms:
        install(backbone.for_task(2, 0), arm, options, 0)
    return backbone


def _small(out: Path, options: VitOptions, progress: Progress) -> Backbone:
    """The small one, pretrained now unless `out` has it."""
    folder = out / "backbone"
    if not folder.is_dir():
        task = world_task("kind", SIDE, options.pretrain_images, options.test_images, progress)
        model = small(len(task.classes), options.heads)
        settle_threads(model)
        _fit(
            model,
            [Group(list(model.parameters()), PRETRAINING_LR)],
            task,
            Look(),
            options,
            options.pretrain_epochs,
            PRETRAINING_SEED,
            lambda step, steps: progress("pretraining", step, steps, ""),
        )
        right = correct(model, task.test, Look(), options.batch_size)
        write_json(out / "backbone.json", {"accuracy": sum(right) / len(right), "tested": len(right)})
        keep(model, folder)
    made = named(str(folder))
    made.model.set_attn_implementation("eager")  # of 17 tokens the faster one, with coefficients and without
    return made
