"""What the cells of `study vit` say together: accuracies with intervals, and what alpha added, paired by task and seed.

An interval is Student's over the seeds, of each seed's mean over the tasks where it is of several. It speaks of other
trainings on these pictures, not of other tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from coeffdream.compare.statistics import FEWEST_FOR_AN_INTERVAL, LEVEL
from coeffdream.studies.vit import Cell
from coeffdream.studies.vit_options import WITHOUT

ALL = "all"  # the mean over tasks


@dataclass(frozen=True)
class Mean:
    """Over seeds, with its 95 % interval; without one from too few seeds."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class ArmSummary:
    """accuracy: by task, and of ALL. gained: over the same arm without alpha, likewise; None where it has none."""

    arm: str
    parameters: int
    gflops: float
    accuracy: dict[str, Mean]
    without: str | None = None
    gained: dict[str, Mean] | None = None


def summarize(cells: Sequence[Cell]) -> list[ArmSummary]:
    """An arm each, in the order of the cells. Every arm has every task and seed."""
    tasks = list(dict.fromkeys(cell.task for cell in cells))
    arms: dict[str, list[Cell]] = {}
    for cell in cells:
        arms.setdefault(cell.arm, []).append(cell)
    tables = {arm: _table(of_arm, tasks) for arm, of_arm in arms.items()}
    made = []
    for arm, of_arm in arms.items():
        without = WITHOUT.get(arm)
        paired = without is not None and without in tables
        made.append(
            ArmSummary(
                arm,
                of_arm[0].parameters,
                of_arm[0].gflops,
                _means(tables[arm], tasks),
                without if paired else None,
                _means(tables[arm] - tables[without], tasks) if without is not None and paired else None,
            )
        )
    return made


def mean(values: np.ndarray) -> Mean:
    """values: [S], a seed each."""
    value = float(values.mean())
    if len(values) < FEWEST_FOR_AN_INTERVAL:
        return Mean(value)
    error = float(values.std(ddof=1)) / len(values) ** 0.5
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1)) * error
    return Mean(value, value - half, value + half)


def _table(cells: Sequence[Cell], tasks: Sequence[str]) -> np.ndarray:
    """Accuracies [T, S]."""
    return np.array(
        [
            [cell.accuracy for cell in sorted(cells, key=lambda cell: cell.seed) if cell.task == task]
            for task in tasks
        ]
    )


def _means(table: np.ndarray, tasks: Sequence[str]) -> dict[str, Mean]:
    of_tasks = {task: mean(row) for task, row in zip(tasks, table, strict=True)}
    return {**of_tasks, ALL: mean(table.mean(axis=0))} if len(tasks) > 1 else of_tasks
