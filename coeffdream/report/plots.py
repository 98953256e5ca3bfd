"""The numbers behind the page's drawing of the loss. The template draws it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

WIDTH, HEIGHT = 1000, 300  # of the drawing's own coordinates; the page stretches it to its column


@dataclass(frozen=True)
class LossCurve:
    """SVG path data on a WIDTH x HEIGHT field; labels at both ends of x, and of y as (text, percent from below)."""

    points: str
    mean: str
    prior: str
    window: int
    last: float
    steps: int
    x_labels: list[str]
    y_labels: list[tuple[str, float]]


def loss_curve(rows: Sequence[dict[str, Any]]) -> LossCurve | None:
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
    ticks = nice_ticks(0.0, float(max(values.max() for values in shown)))
    top = ticks[-1]
    first, last = steps[0], steps[-1]

    def path(values: np.ndarray, join: str) -> str:
        places = zip((steps - first) / (last - first) * WIDTH, HEIGHT - values / top * HEIGHT, strict=True)
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
    )


def running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Mean of each value and those before it, at most `window` of them."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)


def nice_ticks(low: float, high: float) -> list[float]:
    """Round numbers about as far as `low` and `high` or a little beyond them."""
    from matplotlib.ticker import MaxNLocator

    locator = MaxNLocator(nbins=4, steps=[1, 2, 2.5, 5, 10])
    return list(locator.tick_values(low, high if high > low else low + 1.0))
