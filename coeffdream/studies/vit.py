"""Does alpha help when a pretrained vision transformer is tuned on few images? Tables 1 and 2 of arXiv 2503.18337.

A cell is one training: a task, an arm, a seed. Arms of one task and seed see the same pictures in the same order and
begin with the same head, so they are paired. Every cell is kept as it ends; the same study asked for again goes on.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from coeffdream.backbones.device import pick_device
from coeffdream.backbones.threads import settle_threads
from coeffdream.errors import ConfigError, NonFiniteLossError, RunError
from coeffdream.progress import Progress
from coeffdream.records.claim import claimed
from coeffdream.records.environment import versions
from coeffdream.records.fields import Count, Positive, Text, record_from_json, record_to_json
from coeffdream.records.files import read_json, write_json
from coeffdream.studies.vit_arms import install
from coeffdream.studies.vit_backbone import SIDE, Backbone, Look, keep, named, small
from coeffdream.studies.vit_flops import gflops
from coeffdream.studies.vit_options import VitOptions
from coeffdream.studies.vit_pictures import Task, digits_task, folder_name, folder_task, world_task
from coeffdream.studies.vit_training import Group, Tell, correct, fit

Share = Annotated[float, Meta(ge=0, le=1)]

# Options that say how many cells there are and where they are computed, and not what one of them is.
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
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out} is a file; name a folder")
    tasks = [folder_name(options.data)] if options.data else options.chosen_tasks
    if options.data or "digits" in tasks:  # which may not be there: told now, not after a pretraining
        _task("digits", options, SIDE, progress)
    loaded = _loaded(options) if options.backbone else None
    remedy = "wait until that has ended, or choose another --out"
    with claimed(out, "study vit", f"the study in {out}", remedy):
        _same_study(out, options)
        backbone = loaded or _small(out, options, progress)
        settle_threads(backbone.model)
        seeds, arms = range(options.seeds), options.chosen_arms
        wanted = [(task, arm, seed) for task in tasks for seed in seeds for arm in arms]
        absent = [each for each in wanted if not _file(out, *each).is_file()]
        for name in dict.fromkeys(task for task, _, _ in absent):
            task = _task(name, options, backbone.look.side, progress)
            for number, (of, arm, seed) in enumerate(absent):
                if of == name:
                    tell = _telling(progress, number, len(absent), f"{name} {arm} {seed}")
                    cell = train_cell(task, arm, seed, backbone, options, tell)
                    write_json(_file(out, name, arm, seed), record_to_json(cell))
    return [record_from_json(Cell, read_json(_file(out, *each)), _file(out, *each)) for each in wanted]


def _telling(progress: Progress, number: int, count: int, note: str) -> Tell:
    """Tells the steps of training `number` among those of all `count`."""
    return lambda step, steps: progress("trainings", number * steps + step, count * steps, note)


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
        look,
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
        model = small(len(task.classes))
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


def _same_study(out: Path, options: VitOptions) -> None:
    """Write down what the cells of this folder are. Raises RunError where they are others."""
    file = out / "study.json"
    of_a_cell = {
        name: value for name, value in dataclasses.asdict(options).items() if name not in NOT_OF_A_CELL
    }
    if not file.is_file():
        write_json(file, {"options": of_a_cell, "versions": versions()})
        return
    held = read_json(file)
    before = held.get("options") if isinstance(held, dict) else None
    if not isinstance(before, dict):
        raise RunError(f"{file} is damaged (it holds no options); remove {out} and run the study again")
    for name, value in of_a_cell.items():
        if before.get(name) != value:
            flag = f"--{name.replace('_', '-')}"
            raise RunError(
                f"{out} holds a study with {flag} {before.get(name)}, and this one has {flag} {value}; choose another "
                "--out, or the same options"
            )


def _file(out: Path, task: str, arm: str, seed: int) -> Path:
    return out / "cells" / f"{task}.{arm}.{seed}.json"
