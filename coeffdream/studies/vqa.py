"""Does alpha help when a frozen BART is taught to answer questions about pictures? Table 4 of arXiv 2503.18337.

A cell is one training, of an arm and a seed, on all kinds of questions at once as VL-BART is. Arms of one seed begin with
the same weights and are asked in the same order, so they are paired. Every cell is kept as it ends; the same study
asked for again goes on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta
from torch import Tensor, nn

from coeffdream.adapters.hosts.coefficients import add_coefficients
from coeffdream.backbones.device import pick_device
from coeffdream.backbones.threads import settle_threads
from coeffdream.data.images import load_image
from coeffdream.errors import NonFiniteLossError
from coeffdream.metrics.dino import DinoEncoder
from coeffdream.progress import Progress
from coeffdream.records.fields import Count, Positive, Text
from coeffdream.records.files import write_json
from coeffdream.studies.cells import Tell, study_folder, train_absent
from coeffdream.studies.fit import Group, fit
from coeffdream.studies.injected import INJECTED, inject
from coeffdream.studies.vqa_backbone import PictureBart, Reader, answered, keep, named, seen, small
from coeffdream.studies.vqa_data import asked_of
from coeffdream.studies.vqa_options import VqaOptions
from coeffdream.studies.vqa_questions import Question, about_pictures, to_pretrain
from coeffdream.toybox.paths import DINO_SCORER

Asked = tuple[Tensor, list[Question]]  # features [pictures, R, F], and what is asked about them
Share = Annotated[float, Meta(ge=0, le=1)]

NOT_OF_A_CELL = ("arms", "seeds", "device")
PRETRAINING_SEED, PRETRAINING_LR = 0, 3e-3


@dataclass(frozen=True)
class Training:
    """accuracy: by kind of question, the share answered word for word; tested: questions of all kinds. parameters: trained,
    but for those of the layer for pictures; coefficients: those that are alpha's. layers: with alpha. rank: 0 without a
    low-rank part. rates: learning rates."""

    arm: Text
    seed: Count
    accuracy: dict[str, Share]
    tested: Positive
    loss: float
    parameters: Count
    picture_parameters: Positive
    coefficients: Count
    layers: Count
    rank: Count
    rates: dict[str, float]


@dataclass(frozen=True)
class Answered:
    """What one training reached on one kind of question."""

    task: str
    arm: str
    seed: int
    accuracy: float
    parameters: int


def by_question(trainings: Sequence[Training]) -> list[Answered]:
    return [
        Answered(kind, each.arm, each.seed, accuracy, each.parameters)
        for each in trainings
        for kind, accuracy in each.accuracy.items()
    ]


def study(out: Path, options: VqaOptions, progress: Progress) -> list[Training]:
    """Every training that the options ask for, those that `out` holds already as they are. Raises UserError."""
    encoder = DinoEncoder(options.vision or str(DINO_SCORER), device=pick_device(options.device).type)
    given = (
        {split: asked_of(Path(options.data), split, most) for split, most in _splits(options)}
        if options.data
        else {}
    )
    loaded = named(options.backbone, encoder.width) if options.backbone else None

    def asked(split: str, most: int) -> Asked:
        if split in given:
            files, questions = given[split]
            return seen(lambda number: load_image(files[number]), len(files), encoder, progress), questions
        pictures, questions = about_pictures(split, most, progress)
        return seen(pictures.__getitem__, len(pictures), encoder, progress), questions

    with study_folder(out, "study vqa", options, NOT_OF_A_CELL):
        train, test = (asked(split, most) for split, most in _splits(options))
        reader = loaded or _small(out, options, encoder, progress)
        settle_threads(reader.model)

        def training(key: tuple[str, int], tell: Tell) -> Training:
            return train_one(key[0], key[1], reader, train, test, options, tell)

        wanted = [(arm, seed) for seed in range(options.seeds) for arm in options.chosen_arms]
        return train_absent(out, Training, wanted, training, progress)


def _splits(options: VqaOptions) -> list[tuple[str, int]]:
    return [("train", options.train_pictures), ("test", options.test_pictures)]


def train_one(
    arm: str,
    seed: int,
    reader: Reader,
    train: Asked,
    test: Asked,
    options: VqaOptions,
    tell: Tell,
) -> Training:
    """One training and what it reached."""
    model = reader.copied()
    groups = install(model, arm, options, seed)
    loss = _fit(model, groups, reader, reader.dataset(*train), options, options.epochs, seed, tell)
    if not math.isfinite(loss):
        raise NonFiniteLossError(
            f"{arm}, seed {seed}: the loss is {loss}; study again in another --out with a lower --lr or --coeff-lr"
        )
    counts = {kind: sum(each.numel() for each in group.parameters) for kind, group in groups.items()}
    pictures = counts.pop("picture")
    return Training(
        arm=arm,
        seed=seed,
        accuracy=accuracies(model, reader, *test, options.batch_size),
        tested=len(test[1]),
        loss=loss,
        parameters=sum(counts.values()),
        picture_parameters=pictures,
        coefficients=counts.get("alpha", 0),
        layers=len(groups["alpha"].parameters) if "alpha" in groups else 0,
        rank=options.rank_of(model.bart.config.d_model) if arm.removeprefix("coeff-") in INJECTED else 0,
        rates={kind: group.lr for kind, group in groups.items()},
    )


def install(model: PictureBart, arm: str, options: VqaOptions, seed: int) -> dict[str, Group]:
    """Make of `model` what `arm` trains: the groups "picture", "alpha" and "own", those that there are; the rest is frozen."""
    method = arm.removeprefix("coeff-")
    trained: dict[str, list[nn.Parameter]] = {"picture": list(model.picture.parameters())}
    if method == "full":
        trained["own"] = list(model.bart.parameters())
    elif method in INJECTED:
        rank = options.rank_of(model.bart.config.d_model)
        trained["own"] = inject(model.bart, method, rank, seed)
    if arm.startswith("coeff"):
        made = add_coefficients(model, dropout=options.coeff_dropout)
        trained["alpha"] = [each.alpha for each in made.values()]
    model.requires_grad_(False)
    for parameters in trained.values():
        for each in parameters:
            each.requires_grad_(True)
    lr, coeff_lr = options.rates(arm)
    return {
        kind: Group(parameters, coeff_lr, options.coeff_weight_decay)
        if kind == "alpha"
        else Group(parameters, lr)
        for kind, parameters in trained.items()
    }


def accuracies(
    model: PictureBart, reader: Reader, features: Tensor, questions: Sequence[Question], batch_size: int
) -> dict[str, float]:
    """By kind of question, in the order of the first of each."""
    right: dict[str, list[bool]] = {}
    told = answered(model, reader.dataset(features, questions), reader, batch_size)
    for question, each in zip(questions, told, strict=True):
        right.setdefault(question.of, []).append(each)
    return {kind: sum(each) / len(each) for kind, each in right.items()}


def _fit(
    model: PictureBart,
    groups: dict[str, Group],
    reader: Reader,
    data: list[dict[str, Any]],
    options: VqaOptions,
    epochs: int,
    seed: int,
    tell: Tell,
) -> float:
    return fit(
        model,
        list(groups.values()),
        data,  # type: ignore[arg-type]  # a list is a Dataset to everybody but its type
        reader.batch,
        epochs=epochs,
        batch_size=options.batch_size,
        seed=seed,
        device=pick_device(options.device).type,
        tell=tell,
    )


def _small(out: Path, options: VqaOptions, encoder: DinoEncoder, progress: Progress) -> Reader:
    """The small one, pretrained now unless `out` has it."""
    folder = out / "backbone"
    if not folder.is_dir():
        pictures, questions = to_pretrain(options.pretrain_pictures, progress)
        features = seen(pictures.__getitem__, len(pictures), encoder, progress)
        reader = small(encoder.width)
        settle_threads(reader.model)
        _fit(
            reader.model,
            {"own": Group(list(reader.model.parameters()), PRETRAINING_LR)},
            reader,
            reader.dataset(features, questions),
            options,
            options.pretrain_epochs,
            PRETRAINING_SEED,
            lambda step, steps: progress("pretraining", step, steps, ""),
        )
        right = accuracies(reader.model, reader, features, questions, options.batch_size)
        write_json(out / "backbone.json", {"accuracy": right, "of": "what it was pretrained on"})
        keep(reader, folder)
    return named(str(folder), encoder.width)
