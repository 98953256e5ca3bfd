"""The commands that make a run, its pictures and its scores again."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import Any

from coeffdream.config import PRESETS, TrainConfig, flag_of
from coeffdream.data.shipped import concept_folder
from coeffdream.records.images import SetRecord
from coeffdream.records.run import RunRecord
from coeffdream.records.scores import ScoresRecord
from coeffdream.records.study import Study

# Where the results go and on what: no part of what is learned.
_ELSEWHERE = ("runs", "name", "device")
# A base may set these when they are not typed (see backbones/base.py), so they are always typed.
_BASE_MAY_SET = (
    "resolution",
    "lr",
    "coeff_lr",
    "steps",
    "batch_size",
    "rank",
    "precision",
    "gradient_checkpointing",
)


def train_command(record: RunRecord) -> str:
    """The `coeffdream train` line whose config is this run's, whatever base and preset would add to it."""
    preset = record.config.preset
    always = {*_BASE_MAY_SET, *(PRESETS.get(preset, {}) if preset != TrainConfig.preset else ())}
    words = ["coeffdream", "train"]
    for field in dataclasses.fields(TrainConfig):
        name = field.name
        value = getattr(record.config, name)
        if name == "concept" and record.concept:
            value = record.concept.folder
        if name == "class_noun":  # a folder that is moved or renamed would give another
            value = record.class_noun
        if name in _ELSEWHERE or value is None or (value == field.default and name not in always):
            continue
        words += _flag(flag_of(name), value)
    return shlex.join(words)


def resume_command(record: RunRecord) -> str:
    return shlex.join(["coeffdream", "train", "--resume", record.name])


def benchmark_command(record: RunRecord) -> str:
    """The line that draws the whole benchmark as the base recommends."""
    untouched = ["--no-adapter"] if record.status == "base" else []
    return shlex.join(["coeffdream", "generate", "--run", record.name, *untouched])


def generate_command(record: RunRecord, made: SetRecord, *, no_adapter: bool = False) -> str:
    """The `coeffdream generate` line that draws this set; `no_adapter`: the same with the untouched base."""
    settings = made.settings
    untouched = no_adapter or settings.adapter is None
    words = ["coeffdream", "generate"]
    if made.prompts != "given":
        words += ["--prompts", made.prompts]
    if record.status == "base":
        words += ["--base", record.base.name, "--class", record.class_noun]
    else:
        words += ["--run", record.name]
    words += ["--images-per-prompt", str(made.images_per_prompt)]
    words += ["--seed", f"{settings.seed}", "--steps", f"{settings.steps}"]
    words += ["--guidance", f"{settings.guidance_scale}", "--size", f"{settings.size}"]
    if settings.negative:
        words += ["--negative", settings.negative]
    if untouched:
        words.append("--no-adapter")
    else:
        for flag, scale in (("--lora-scale", settings.lora_scale), ("--alpha-scale", settings.alpha_scale)):
            if scale not in (None, 1.0):
                words += [flag, f"{scale}"]
    if not no_adapter:
        words += ["--set", made.name]
    if made.prompts == "given":
        plain = ["--plain"] if any("<V>" not in template for template in made.templates) else []
        words += [*plain, "--", *made.templates]
    return shlex.join(words)


def eval_command(record: RunRecord, made: SetRecord, scores: ScoresRecord | None) -> str:
    words = ["coeffdream", "eval", "--run", record.name, "--set", made.name]
    if scores and scores.score_text != "class":
        words += ["--score-text", scores.score_text]
    return shlex.join(words)


def study_command(study: Study, folder: Path) -> str:
    """The `coeffdream bench concepts` line that makes this study, or goes on with it."""
    words = ["coeffdream", "bench", "concepts", *(_shipped_name(concept) for concept in study.concepts)]
    words += ["--base", study.base, "--methods", ",".join(study.methods), "--seeds", str(study.seeds)]
    if study.steps is not None:
        words += ["--steps", str(study.steps)]
    if study.lr is not None:
        words += ["--lr", str(study.lr)]
    words += ["--images-per-prompt", str(study.images_per_prompt)]
    if study.sampling_steps is not None:
        words += ["--sampling-steps", str(study.sampling_steps)]
    if study.device != "auto":
        words += ["--device", study.device]
    here = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    return shlex.join([*words, "--study", str(here)])


def _shipped_name(concept: str) -> str:
    """A concept that comes with coeffdream by its name, any other by its folder."""
    path = Path(concept)
    return path.name if concept_folder(path.name).resolve() == path else concept


def report_command(record: RunRecord, made: SetRecord | None) -> str:
    return shlex.join(["coeffdream", "report", record.name, *(["--set", made.name] if made else [])])


def _flag(flag: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [flag if value else f"--no-{flag[2:]}"]
    return [flag, str(value)]
