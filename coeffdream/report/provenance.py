"""Where a run comes from and what it still lacks: settings, status, hashes, and the commands for both."""

from __future__ import annotations

import dataclasses
from typing import Any

from coeffdream.config import TrainConfig, flag_of
from coeffdream.option import default_of
from coeffdream.records import commands
from coeffdream.records.images import ImageRecord, SetRecord
from coeffdream.records.run import RunFolder, RunRecord, State
from coeffdream.records.scores import ScoresRecord
from coeffdream.report.commands import train_command


def settings(record: RunRecord) -> tuple[list[tuple[str, str, str]], list[tuple[str, str]]]:
    """Options that differ from their default, with it, and those that do not."""
    changed, defaults = [], []
    for option in dataclasses.fields(TrainConfig) if record.trains else ():
        flag, value = flag_of(option.name), getattr(record.config, option.name)
        if value == default_of(option):
            defaults.append((flag, _shown(value)))
        else:
            changed.append((flag, _shown(value), _shown(default_of(option))))
    return changed, defaults


def _shown(value: Any) -> str:
    if value in (None, "", []):
        return "none"
    if isinstance(value, list):
        return " ".join(value)
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


def status(record: RunRecord, state: State, at: int) -> str:
    """In words. at: the last step in the log, of a training that is not done."""
    done, steps = record.steps_done, record.config.steps
    kept = f"{done:,} steps are kept" if done else "no step is kept"
    return {
        "complete": f"complete, {done:,} steps",
        "base": "untouched base, nothing trained",
        "several": "adapters of several runs together, nothing trained",
        "training": f"training, {at:,} of {steps:,} steps",
        "interrupted": f"interrupted after {done:,} of {steps:,} steps",
        "killed": f"killed after {at:,} of {steps:,} steps; {kept}",
        "diverged": f"diverged after {at:,} of {steps:,} steps; {kept}",
        "failed": f"failed after {at:,} of {steps:,} steps; {kept}",
    }[state]


def missing(
    run: RunFolder,
    record: RunRecord,
    state: State,
    made: SetRecord | None,
    images: list[ImageRecord],
    scores: ScoresRecord | None,
) -> list[tuple[str, str]]:
    """What the page cannot show yet, and the command that makes it."""
    if state == "training":
        return []
    if state == "diverged":
        return [("The training diverged. Train again with a smaller --lr than", train_command(record))]
    if record.trains and state != "complete":
        why = {
            "killed": "The training was killed: no process is at it any more",
            "failed": "The training failed",
        }.get(state, "The training is not finished")
        return [(f"{why}. Go on with", commands.resume_command(run))]
    if made is None:
        return [
            ("There are no pictures yet. Draw the benchmark with", commands.benchmark_command(run, record))
        ]
    found = []
    if len(images) < made.expected:
        found.append(("Pictures are missing. Draw them with", commands.generate_command(run, record, made)))
    elif scores is None:
        found.append(("There are no scores yet. Make them with", commands.eval_command(run, made, scores)))
    if record.status in ("complete", "several") and made.settings.adapter and not (scores and scores.floor):
        floor = commands.generate_command(run, record, made, no_adapter=True)
        again = commands.eval_command(run, made, scores)
        found.append(
            ("The untouched base on the same prompts and seeds shows what was gained", f"{floor}\n{again}")
        )
    return found


def reproduction(
    run: RunFolder, record: RunRecord, made: SetRecord | None, scores: ScoresRecord | None
) -> list[tuple[str, str]]:
    lines = []
    if record.trains:
        lines.append(("Train", train_command(record)))
    if made:
        lines.append(("Draw", commands.generate_command(run, record, made)))
        if scores and scores.floor:
            lines.append(("Draw the floor", commands.generate_command(run, record, made, no_adapter=True)))
        if scores:
            lines.append(("Score", commands.eval_command(run, made, scores)))
    lines.append(("Report", commands.report_command(run, made)))
    return lines


def hashes(record: RunRecord, made: SetRecord | None, scores: ScoresRecord | None) -> list[tuple[str, str]]:
    rows = [("base architecture", record.base.architecture)]
    if record.hub:
        rows.append((f"fetched from {record.hub.repo}, commit", record.hub.commit))
    if made and made.settings.adapter:
        rows += [(f"adapter: {name}", value) for name, value in sorted(made.settings.adapter.items())]
    if scores:
        rows += [
            (f"{encoder.name} weights", encoder.weights_sha256) for encoder in scores.encoders.used.values()
        ]
        rows += [("prompts", scores.set.prompts_sha256), ("seeds", scores.set.seeds_sha256)]
    photos = [photo for concept in record.concepts for photo in concept.images]
    rows += [(f"photo {photo.file}", photo.sha256) for photo in photos]
    return [(name, value) for name, value in rows if value]
