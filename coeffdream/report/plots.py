"""The numbers behind the page's drawing of the loss. The template draws it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from coeffdream.records.run import Validated

WIDTH, HEIGHT = 1000, 300  # of the drawing's own coordinates; the page stretches it to its column


# What is measured at checkpoints (training/validation.py), by its key in train.jsonl.
VALIDATED = ("validation_loss", "class_loss")


@dataclass(frozen=True)
class Measured:
    """A loss that is measured at checkpoints: SVG path data, and its value untouched and at the end."""

    path: str
    untouched: float
    last: float


@dataclass(frozen=True)
class LossCurve:
    """SVG path data on a WIDTH x HEIGHT field; labels at both ends of x, and of y as (text, percent from below).

    measured: by the key of the log, beginning with the untouched base; none before the first checkpoint.
    """

    points: str
    mean: str
    prior: str
    window: int
    last: float
    steps: int
    x_labels: list[str]
    y_labels: list[tuple[str, float]]
    measured: dict[str, Measured]


def loss_curve(rows: Sequence[dict[str, Any]], untouched: Validated | None = None) -> LossCurve | None:
    """The losses of train.jsonl; None when fewer than two steps have a finite one."""
    kept = [row for row in rows if isinstance(row.get("loss"), (int, float))]
    if len(kept) < 2:
        return None
    steps = np.array([row["step"] for row in kept], dtype=np.float64)
    losses = np.array([row["loss"] for row in kept], dtype=np.float64)
    priors = np.array([row.get("prior_loss") or 0.0 for row in kept], dtype=np.float64)
    window = max(5, len(kept) // 20)
    means = running_mean(losses, window)
    shown = [losses] + ([priors] if priors.any() else [])
    first, last = steps[0], steps[-1]
    measured = {key: _measured(rows, key, untouched, first) for key in VALIDATED} if untouched else {}
    shown += [values for at, values in measured.values() if len(at) > 1]
    ticks = nice_ticks(0.0, float(max(values.max() for values in shown)))
    top = ticks[-1]

    def path(values: np.ndarray, join: str, at: np.ndarray = steps) -> str:
        places = zip((at - first) / (last - first) * WIDTH, HEIGHT - values / top * HEIGHT, strict=True)
        return join.join(f"{x:.1f} {y:.1f}" for x, y in places)

    return LossCurve(
        # A stroke of no length with round ends is a dot that stays round however the drawing is stretched.
        points="M" + path(losses, "h0M") + "h0",
        mean="M" + path(means, "L"),
        prior="M" + path(running_mean(priors, window), "L") if priors.any() else "",
        window=window,
        last=float(means[-1]),
        steps=int(last),
        x_labels=[f"{int(step):,}" for step in (first, last)],
        y_labels=[(f"{tick:g}", 100 * tick / top) for tick in ticks],
        measured={
            key: Measured("M" + path(values, "L", at), float(values[0]), float(values[-1]))
            for key, (at, values) in measured.items()
            if len(at) > 1
        },
    )


def _measured(
    rows: Sequence[dict[str, Any]], key: str, untouched: Validated, first: float
) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of a loss that is measured at checkpoints; the untouched base at the `first` step shown."""
    known = [row for row in rows if isinstance(row.get(key), (int, float))]
    at = [first, *(row["step"] for row in known)]
    values = [getattr(untouched, key), *(row[key] for row in known)]
    return np.array(at, dtype=np.float64), np.array(values, dtype=np.float64)


def running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Mean of each value and those before it, at most `window` of them."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)


def nice_ticks(low: float, high: float) -> list[float]:
    """Round numbers, about five, from `low` or a little below it to `high` or a little beyond."""
    span = high - low if high > low else 1.0
    unit = 10.0 ** math.floor(math.log10(span / 4))
    step = next(step for step in (unit, 2 * unit, 2.5 * unit, 5 * unit, 10 * unit) if 4.001 * step >= span)
    first, last = math.floor(low / step + 1e-9), math.ceil((low + span) / step - 1e-9)
    return [index * step for index in range(first, last + 1)]
