"""The cells of a study, run and compared: what `bench concepts` and `study methods` share."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from coeffdream.cli.methods import check_methods
from coeffdream.cli.terminal import ProgressDisplay, doing, last_progress, loading, near, say
from coeffdream.config import TrainConfig
from coeffdream.errors import counted
from coeffdream.records.study_plan import Study

if TYPE_CHECKING:
    from coeffdream.compare.result import Comparison


def folders_of(concepts: Sequence[str]) -> list[str]:
    """Their folders, absolute, each with photos that can be learned from: read before the first hour is spent."""
    from coeffdream.data.concept import load_concept
    from coeffdream.data.shipped import concept_folder

    folders = [concept_folder(name).resolve() for name in concepts]
    with doing(f"reading the photos of {counted(len(folders), 'concept')}"):
        for folder in folders:
            load_concept(folder)
    return [str(folder) for folder in folders]


def run_study(plan: Study, folder: Path, jobs: int, arms_text: str | None = None) -> Comparison:
    """Run what is still to do of `plan` in `folder`, and compare its arms; comparison.json has every number.

    arms_text: the file that describes the arms, to be kept with the study.
    """
    with loading("torch", "scipy"):
        from coeffdream.bench.concepts import open_study, run_cells
        from coeffdream.cli.workers import Workers
        from coeffdream.compare.comparison import compare
        from coeffdream.compare.pairing import pair_study
        from coeffdream.compare.scored import load_runs
        from coeffdream.records.files import write_json, write_text
        from coeffdream.records.study import StudyFolder

    described = [plan.arms.get(name, {"method": name}) for name in plan.methods]
    check_methods(
        TrainConfig(method=str(arm["method"]), method_option=list(arm.get("method_option", [])))  # type: ignore[arg-type]
        for arm in described
    )
    kept, workers = StudyFolder(folder), Workers(plan.device)
    with open_study(folder, plan) as todo:
        if arms_text is not None:
            write_text(kept.arms_file, arms_text)
        say(f"{len(plan.cells)} cells, {len(todo)} to do; logs in {near((folder / 'logs').resolve())}")
        if todo:
            with ProgressDisplay() as progress:
                run_cells(folder, plan, todo, jobs, workers, progress, stop=workers.stop, told=last_progress)
        cells = load_runs([str(kept.run(cell).path) for cell in plan.cells], folder)
        comparison = compare(pair_study(plan, plan.cells, cells))
        write_json(folder / "comparison.json", dataclasses.asdict(comparison))
    return comparison
