"""What the trainings of a study say together: accuracies with intervals, and what one arm has over another.

Arms are paired by task and seed. An interval is Student's over the seeds, of each seed's mean over the tasks where it
is of several, and so is a p value. They speak of other trainings on these pictures, not of other tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from scipy import stats

from coeffdream.compare.statistics import FEWEST_FOR_AN_INTERVAL, LEVEL, holm

ALL = "all"  # the mean over tasks


class Result(Protocol):
    """What one training reached on one task; `parameters` are those trained that the arm is about."""

    @property
    def task(self) -> str: ...
    @property
    def arm(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def accuracy(self) -> float: ...
    @property
    def parameters(self) -> int: ...


@dataclass(frozen=True)
class Mean:
    """Over seeds, with its 95 % interval; without one from too few seeds."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class ArmSummary:
    """accuracy: by task, and of ALL. gained: over the arm `against`, likewise; None where it has none.

    p: two-sided, paired over the seeds, of the gain of ALL (or the one task); p_holm: corrected for the arms.
    """

    arm: str
    parameters: int
    accuracy: dict[str, Mean]
    against: str | None = None
    gained: dict[str, Mean] | None = None
    p: float | None = None
    p_holm: float | None = None


def summarize(results: Sequence[Result], against: Mapping[str, str]) -> list[ArmSummary]:
    """An arm each, in the order of the results. Every arm has every task and seed.

    `against`: the arm that an arm is compared with, where that is there.
    """
    tasks = list(dict.fromkeys(result.task for result in results))
    arms: dict[str, list[Result]] = {}
    for result in results:
        arms.setdefault(result.arm, []).append(result)
    tables = {arm: _table(of_arm, tasks) for arm, of_arm in arms.items()}
    made = []
    for arm, of_arm in arms.items():
        summary = ArmSummary(arm, of_arm[0].parameters, _means(tables[arm], tasks))
        other = against.get(arm)
        if other is not None and other in tables:
            pairs = tables[arm] - tables[other]
            summary = replace(
                summary, against=other, gained=_means(pairs, tasks), p=paired_p(pairs.mean(axis=0))
            )
        made.append(summary)
    tested = [summary for summary in made if summary.p is not None]
    corrected = dict(
        zip((summary.arm for summary in tested), holm([summary.p or 0.0 for summary in tested]), strict=True)
    )
    return [replace(summary, p_holm=corrected.get(summary.arm)) for summary in made]


def mean(values: np.ndarray) -> Mean:
    """values: [S], a seed each."""
    value = float(values.mean())
    if len(values) < FEWEST_FOR_AN_INTERVAL:
        return Mean(value)
    error = float(values.std(ddof=1)) / len(values) ** 0.5
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1)) * error
    return Mean(value, value - half, value + half)


def paired_p(differences: np.ndarray) -> float | None:
    """Student's, two-sided, of [S] differences, a seed each; None from too few."""
    if len(differences) < FEWEST_FOR_AN_INTERVAL:
        return None
    error = float(differences.std(ddof=1)) / len(differences) ** 0.5
    if error == 0:
        return 0.0 if differences.any() else 1.0
    return float(2 * stats.t.sf(abs(float(differences.mean())) / error, len(differences) - 1))


def _table(results: Sequence[Result], tasks: Sequence[str]) -> np.ndarray:
    """Accuracies [T, S]."""
    return np.array(
        [
            [
                result.accuracy
                for result in sorted(results, key=lambda result: result.seed)
                if result.task == task
            ]
            for task in tasks
        ]
    )


def _means(table: np.ndarray, tasks: Sequence[str]) -> dict[str, Mean]:
    of_tasks = {task: mean(row) for task, row in zip(tasks, table, strict=True)}
    return {**of_tasks, ALL: mean(table.mean(axis=0))} if len(tasks) > 1 else of_tasks
