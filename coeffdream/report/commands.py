"""The commands that train a run and make a study again."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from coeffdream.backbones.base import OF_TRAINING
from coeffdream.config import TrainConfig, train_option
from coeffdream.data.shipped import concept_folder
from coeffdream.limits import RUN_NAME
from coeffdream.option import default_of
from coeffdream.presets import PRESETS
from coeffdream.records.commands import command_line, options
from coeffdream.records.run import RunRecord
from coeffdream.records.study import StudyFolder
from coeffdream.records.study_plan import Study

# Where the results go and on what: no part of what is learned.
_ELSEWHERE = ("runs", "device", "log_with")


def train_command(record: RunRecord) -> str:
    """The `coeffdream train` line whose config is this run's, whatever base and preset would add to it."""
    preset = record.config.preset
    # What a base may set when it is not typed is always typed.
    always = {*OF_TRAINING, *(PRESETS.get(preset, {}) if preset != TrainConfig.preset else ())}
    words = ["train"]
    for field in dataclasses.fields(TrainConfig):
        name = field.name
        value = getattr(record.config, name)
        if name == "concept" and record.concept:
            value = record.concept.folder
        if name == "prediction":  # what the base says itself needs no saying
            value = record.base.prediction
        if name == "base_config":
            value = record.base.base_config
        if name == "class_noun":  # a folder that is moved or renamed would give another
            value = record.class_noun
        if name == "name":  # as the run is called in the commands that draw and score it again
            value = record.name if RUN_NAME.fullmatch(record.name) else None
        if name in _ELSEWHERE or value is None or (value == default_of(field) and name not in always):
            continue
        words += train_option(name, value)
    return command_line(*words)


def study_command(study: Study, folder: Path) -> str:
    """The `coeffdream bench concepts` line that makes this study, or goes on with it."""
    words = ["bench", "concepts", *(_shipped_name(concept) for concept in study.concepts)]
    if study.arms:
        words += options(arms=_near(StudyFolder(folder).arms_file))
    words += options(base=study.base, methods=",".join(study.methods), seeds=study.seeds)
    words += options(steps=study.steps, lr=study.lr, images_per_prompt=study.images_per_prompt)
    words += options(sampling_steps=study.sampling_steps)
    if study.device != "auto":
        words += options(device=study.device)
    words += options(study=_near(folder), store=StudyFolder(folder).store())
    return command_line(*words)


def _near(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _shipped_name(concept: str) -> str:
    """A concept that comes with coeffdream by its name, any other by its folder."""
    path = Path(concept)
    return path.name if concept_folder(path.name).resolve() == path else concept
