"""The cells of a study: how far each one came, and what is known of those that are complete."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from coeffdream.compare.scored import ScoredRun
from coeffdream.records.images import SetFolder, find_set
from coeffdream.records.run import RunFolder
from coeffdream.records.scores import read_scores
from coeffdream.records.study import StudyFolder
from coeffdream.records.study_plan import Cell, Study
from coeffdream.report.log import last_step, read_log
from coeffdream.report.provenance import status


@dataclass(frozen=True)
class Unfinished:
    """A cell without scores. `log` is its log's place, seen from the study's folder; `last` its last line."""

    cell: Cell
    state: str
    log: str
    last: str


@dataclass(frozen=True)
class Finished:
    """A cell with scores. `pictures` is the set that was scored."""

    cell: Cell
    run: RunFolder
    scored: ScoredRun
    pictures: SetFolder


def read_cells(folder: StudyFolder, study: Study) -> tuple[list[Finished], list[Unfinished]]:
    """Every cell, the finished ones by method. Raises RunError for damaged records."""
    finished, unfinished = [], []
    for cell in sorted(study.cells, key=lambda cell: study.methods.index(cell.arm)):
        run = folder.run(cell)
        if run.scores.is_file():
            scored = ScoredRun(run.path, run.read(), read_scores(run.scores))
            pictures = find_set(run.images, scored.scores.set.name)
            finished.append(Finished(cell, run, scored, pictures))
        else:
            log = folder.log(cell)
            begun = log.is_file()
            place = f"logs/{quote(log.name)}" if begun else ""
            last = _last_line(log) if begun else ""
            unfinished.append(Unfinished(cell, _state(run, begun=begun), place, last))
    return finished, unfinished


def _state(run: RunFolder, *, begun: bool) -> str:
    if not run.record_file.is_file():
        return "not trained" if begun else "not begun"
    record, state = run.look()
    if state != "complete":
        return status(record, state, last_step(read_log(run, state)))
    if not any(run.images.glob("*/set.json")):
        return "trained, not drawn"
    pictures = find_set(run.images, None)
    expected, there = pictures.read_set().expected, len(pictures.read_images())
    return "drawn, not scored" if there >= expected else f"trained, {there} of {expected} pictures drawn"


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
