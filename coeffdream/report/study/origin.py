"""What a study was: its plan, the settings of its cells, versions, hashes, and the command that makes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coeffdream.config import flag_of
from coeffdream.records.files import sha256_of_file
from coeffdream.records.study import StudyFolder
from coeffdream.records.study_plan import Study
from coeffdream.report import provenance
from coeffdream.report.commands import study_command
from coeffdream.report.study.cells import Finished

OF_THE_CELL = {"--concept", "--method", "--seed", "--name", "--runs", "--class", "--device", "--base"}


@dataclass(frozen=True)
class Origin:
    """Rows as the page lists them; `changed` and `defaults` are the settings that all cells share."""

    command: str
    plan: list[tuple[str, str]]
    parameters: list[tuple[str, str]]
    changed: list[tuple[str, str, str]]
    defaults: list[tuple[str, str]]
    versions: list[tuple[str, str]]
    machine: list[tuple[str, str]]
    hashes: list[tuple[str, str]]


def origin(folder: StudyFolder, study: Study, finished: Sequence[Finished]) -> Origin:
    """Taken from study.json and the records of the finished cells."""
    records = [cell.scored.record for cell in finished]
    changed: list[tuple[str, str, str]] = []
    defaults: list[tuple[str, str]] = []
    for record in records[:1]:
        changed, defaults = provenance.settings(record)
    pictures = [cell.pictures.read_set() for cell in finished]
    of_the_cell = {*OF_THE_CELL, *(flag_of(option) for arm in study.arms.values() for option in arm)}
    return Origin(
        command=study_command(study, folder.path),
        plan=[
            ("base", study.base),
            ("concepts", ", ".join(Path(each).name for each in study.concepts)),
            ("methods", ", ".join(study.methods)),
            *((f"arm {arm}", _described(options)) for arm, options in study.arms.items()),
            ("training seeds", f"{study.seeds}: {', '.join(map(str, range(study.seeds)))}"),
            ("training steps", _all(record.steps_done for record in records) or _given(study.steps)),
            ("prompts", _all(made.prompts for made in pictures)),
            ("images per prompt", str(study.images_per_prompt)),
            (
                "sampling steps",
                _all(made.settings.steps for made in pictures) or _given(study.sampling_steps),
            ),
            ("guidance scale", _all(made.settings.guidance_scale for made in pictures)),
            ("size", _all(made.settings.size for made in pictures)),
            ("scored text", _all(cell.scored.scores.score_text for cell in finished)),
        ],
        parameters=[
            (
                arm,
                _all(
                    f"{cell.scored.record.parameters.trained:,}" for cell in finished if cell.cell.arm == arm
                ),
            )
            for arm in study.methods
        ],
        changed=[row for row in changed if row[0] not in of_the_cell],
        defaults=[row for row in defaults if row[0] not in of_the_cell],
        versions=_merged(record.versions for record in records),
        machine=_merged(vars(record.machine) for record in records),
        hashes=_hashes(folder, finished),
    )


def _hashes(folder: StudyFolder, finished: Sequence[Finished]) -> list[tuple[str, str]]:
    rows: dict[tuple[str, str], None] = {("study.json", sha256_of_file(folder.record_file)): None}
    for cell in finished:
        record, scores = cell.scored.record, cell.scored.scores
        rows[("base architecture", str(record.base.architecture))] = None
        for encoder in scores.encoders.used.values():
            rows[(f"{encoder.name} weights", encoder.weights_sha256)] = None
        rows[(f"prompts {scores.set.prompts}", scores.set.prompts_sha256)] = None
    for cell in finished:
        concept = cell.scored.record.concept
        for photo in concept.images if concept else ():
            rows[(f"{cell.cell.concept_name}: photo {photo.file}", photo.sha256)] = None
    return [row for row in rows if row[1] != "None"]


def _all(values: Iterable[Any]) -> str:
    """The value, or all of them where cells differ."""
    return ", ".join(dict.fromkeys(str(value) for value in values if value is not None))


def _described(arm: Mapping[str, Any]) -> str:
    return ", ".join(f"{option.replace('_', '-')} {value}" for option, value in arm.items())


def _given(value: int | None) -> str:
    return "the base’s" if value is None else str(value)


def _merged(rows: Iterable[dict[str, Any]]) -> list[tuple[str, str]]:
    values: dict[str, list[Any]] = {}
    for row in rows:
        for key, value in row.items():
            values.setdefault(key, []).append(value)
    return [(key, said) for key, each in values.items() if (said := _all(each))]
