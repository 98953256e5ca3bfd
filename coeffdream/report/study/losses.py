"""The training loss of each method: every cell's running mean, and the mean of these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coeffdream.report.log import read_log
from coeffdream.report.plots import HEIGHT, WIDTH, nice_ticks, running_mean
from coeffdream.report.study.cells import Finished

POINTS = 120  # of a curve


@dataclass(frozen=True)
class MethodLoss:
    """SVG paths on a WIDTH x HEIGHT field, all methods on one scale."""

    method: str
    cells: int
    thin: str
    mean: str
    last: float
    x_labels: list[str]
    y_labels: list[tuple[str, float]]


def losses(cells: Sequence[Finished], methods: Sequence[str]) -> list[MethodLoss]:
    """Every method with a training log of two steps or more."""
    curves = {method: [] for method in methods}  # type: dict[str, list[tuple[NDArray, NDArray]]]
    for cell in cells:
        rows = [row for row in read_log(cell.run) if isinstance(row.get("loss"), (int, float))]
        if len(rows) > 1:
            values = np.array([row["loss"] for row in rows], dtype=np.float64)
            steps = np.array([row["step"] for row in rows], dtype=np.float64)
            curves[cell.cell.arm].append((steps, running_mean(values, window(len(rows)))))
    known = {method: each for method, each in curves.items() if each}
    if not known:
        return []
    first = max(steps[0] for each in known.values() for steps, _ in each)
    last = min(steps[-1] for each in known.values() for steps, _ in each)
    if last <= first:
        return []
    grid = np.linspace(first, last, POINTS)
    sampled = {
        method: np.array([np.interp(grid, steps, values) for steps, values in each])
        for method, each in known.items()
    }
    ticks = nice_ticks(0.0, max(float(each.max()) for each in sampled.values()))
    return [
        MethodLoss(
            method,
            len(each),
            "".join(_path(values, ticks[-1]) for values in each),
            _path(each.mean(axis=0), ticks[-1]),
            float(each.mean(axis=0)[-1]),
            [f"{int(first):,}", f"{int(last):,}"],
            [(f"{tick:g}", 100 * tick / ticks[-1]) for tick in ticks],
        )
        for method, each in sampled.items()
    ]


def window(steps: int) -> int:
    """How many steps a running mean spans."""
    return max(5, steps // 10)


def _path(values: NDArray, top: float) -> str:
    places = zip(np.linspace(0, WIDTH, len(values)), HEIGHT * (1 - values / top), strict=True)
    return "M" + "L".join(f"{x:.0f} {y:.1f}" for x, y in places)
