"""The numbers behind the page's drawings: the loss curve and the heatmaps. The template draws them."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from coeffdream.report.alpha import LayerMixing, describe, short_path
from coeffdream.report.thumbnails import data_uri

WIDTH, HEIGHT = 1000, 300  # of the drawing's own coordinates; the page stretches it to its column
ADDS, TAKES = (214, 90, 40), (60, 124, 200)  # readable on white and on black, as transparency is added


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


def nice_ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers from `low` to at least `high`, about `count` of them."""
    span = high - low
    if span <= 0:
        return [low, low + 1.0]
    raw = span / count
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= raw * (1 - 1e-9))
    return [low + index * step for index in range(math.ceil(span / step - 1e-9) + 1)]


@dataclass(frozen=True)
class Heatmap:
    """One layer's alpha' - I as a picture of heads x heads pixels."""

    label: str
    uri: str
    layer: LayerMixing


def heatmaps(mixings: dict[str, np.ndarray]) -> tuple[list[Heatmap], float]:
    """Every layer on one scale, and the value at which the colours are full."""
    changes = {path: mixing - np.eye(len(mixing)) for path, mixing in mixings.items()}
    limit = max((float(np.abs(change).max()) for change in changes.values()), default=0.0)
    made = [
        Heatmap(short_path(path), _picture(change / (limit or 1.0)), describe(path, mixings[path]))
        for path, change in changes.items()
    ]
    return made, limit


def _picture(share: np.ndarray) -> str:
    """Zero is transparent, so that the picture stands on light and on dark paper alike."""
    pixels = np.zeros((*share.shape, 4), dtype=np.uint8)
    pixels[..., :3] = np.where((share >= 0)[..., None], ADDS, TAKES)
    pixels[..., 3] = np.round(255 * np.abs(share).clip(0, 1) ** 0.75)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", optimize=True)
    return data_uri(stream.getvalue(), "image/png")
