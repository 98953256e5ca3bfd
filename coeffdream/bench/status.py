"""How far a study is, read from its folder: by anybody, from any machine that sees it."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from coeffdream.errors import RunError
from coeffdream.records.claim import holder, is_held
from coeffdream.records.study import StudyFolder
from coeffdream.records.study_journal import Journal, Now, StageEnd, age

# What a cell is made of; the first of them once, whichever cell of the concept it falls to.
COMMANDS = ("train", "generate", "generate --no-adapter", "generate --unrelated", "eval")


@dataclass(frozen=True)
class CellAtWork:
    """steps, of: how far the command is by its own log; 0 of 0 where it says nothing."""

    cell: str
    command: str
    number: int
    commands: int
    stage: str
    steps: int
    of: int
    seconds: float


@dataclass(frozen=True)
class StudyStatus:
    """by: who holds the study, None when nobody does. left: seconds, None while they cannot be told."""

    cells: int
    done: int
    failed: list[str]
    by: str | None
    where: str
    running: list[CellAtWork]
    left: float | None


def study_status(path: Path, told: Callable[[Path], tuple[str, int, int] | None]) -> StudyStatus:
    """told: how far a command is by its log. Raises RunError for a folder that holds no study."""
    folder, journal = StudyFolder(path), Journal(path)
    if not folder.record_file.is_file():
        raise RunError(
            f"{path} holds no study (no study.json); give the folder that bench concepts --study was given"
        )
    cells = folder.read().cells
    undone = [cell.name for cell in cells if not folder.run(cell).scores.is_file()]
    ends, held = journal.ends(), is_held(path)
    now = journal.now() if held else None
    running = [] if now is None else _running(now, folder, told)
    return StudyStatus(
        cells=len(cells),
        done=len(cells) - len(undone),
        failed=_failed(undone, ends, {each.cell for each in running}),
        by=holder(path) if held else None,
        where=now.where if now else "",
        running=running,
        left=_left(undone, ends, running, now.jobs if now else 0),
    )


def _running(
    now: Now, folder: StudyFolder, told: Callable[[Path], tuple[str, int, int] | None]
) -> list[CellAtWork]:
    found = []
    for each in now.running:
        stage, steps, of = told(folder.path / "logs" / f"{Path(each.cell).name}.log") or ("", 0, 0)
        found.append(
            CellAtWork(each.cell, each.command, each.number, each.of, stage, steps, of, age(each.began))
        )
    return found


def _failed(undone: Sequence[str], ends: Sequence[StageEnd], running: set[str]) -> list[str]:
    """Cells whose last command failed of itself, and was not asked to stop."""
    last = {end.cell: end.status for end in ends}
    return [cell for cell in undone if cell not in running and 0 < (last.get(cell) or 0) < 128]


def _left(
    undone: Sequence[str], ends: Sequence[StageEnd], running: Sequence[CellAtWork], jobs: int
) -> float | None:
    """What the commands took so far on average, for all that are still to come, shared among the workers."""
    if not jobs:
        return None
    took: Mapping[str, list[float]] = defaultdict(list)
    been: Counter[tuple[str, str]] = Counter()
    for end in ends:
        if end.status == 0:
            took[end.command].append(end.seconds)
            been[end.cell, end.command] += 1
    if any(command not in took for command in COMMANDS):
        return None
    mean = {command: statistics.fmean(took[command]) for command in COMMANDS}
    work = sum(mean[command] for cell in undone for command in COMMANDS if not been[cell, command])
    work -= sum(min(each.seconds, mean.get(each.command, 0.0)) for each in running)
    return max(0.0, work) / min(jobs, max(1, len(undone)))
