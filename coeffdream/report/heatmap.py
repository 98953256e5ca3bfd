"""The learned coefficients as pictures: alpha' - I of every layer, all on one scale.

Orange adds a head's map, blue takes it away; zero is transparent, so that a picture stands on light and on dark
paper alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from coeffdream.records.files import replacing
from coeffdream.report.alpha import LayerMixing, describe, short_path
from coeffdream.report.thumbnails import data_uri

ADDS, TAKES = (214, 90, 40), (60, 124, 200)  # readable on white and on black


@dataclass(frozen=True)
class Heatmap:
    """One layer's alpha' - I as a picture of heads x heads pixels."""

    label: str
    uri: str
    layer: LayerMixing


def heatmaps(mixings: Mapping[str, np.ndarray]) -> tuple[list[Heatmap], float]:
    """A picture of every layer for a page, and the value at which the colours are full."""
    changes, limit = _changes(mixings)
    uris = {
        path: data_uri(Image.fromarray(_colours(change / limit)), "png", optimize=True)
        for path, change in changes.items()
    }
    return [
        Heatmap(short_path(path), uri, describe(path, mixings[path])) for path, uri in uris.items()
    ], limit


def draw_heatmap(mixings: Mapping[str, np.ndarray], file: Path) -> None:
    """Every layer in one PNG with a title and a scale."""
    from matplotlib.figure import Figure

    changes, limit = _changes(mixings)
    columns = min(10, math.ceil(math.sqrt(len(changes) * 1.6)))
    rows = math.ceil(len(changes) / columns)
    width, height = 1.5 * columns + 1, 1.7 * rows + 0.9
    figure = Figure(figsize=(width, height))
    axes = figure.subplots(rows, columns, squeeze=False)
    # By hand: matplotlib's own layouts take most of a minute over SDXL's 140 panels.
    figure.subplots_adjust(
        left=0.1 / width,
        right=1 - 0.9 / width,
        bottom=0.1 / height,
        top=1 - 0.7 / height,
        wspace=0.1,
        hspace=0.25,
    )
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (path, change) in zip(axes.flat, changes.items(), strict=False):
        axis.imshow(_colours(change / limit), interpolation="nearest")
        axis.set_title(short_path(path), fontsize=6)
    title = "alpha' − I per attention layer: rows are heads, columns the heads mixed in"
    figure.suptitle(title, fontsize=9, y=1 - 0.2 / height)
    scale = figure.add_axes((1 - 0.75 / width, 0.25, 0.15 / width, 0.5))
    scale.imshow(_colours(np.linspace(1, -1, 201)[:, None]), extent=(0, 1, -limit, limit), aspect="auto")
    scale.xaxis.set_visible(False)
    scale.yaxis.tick_right()
    with replacing(file) as temporary:
        figure.savefig(temporary, dpi=130, format="png")


def _changes(mixings: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], float]:
    """alpha' - I by layer, and the largest absolute entry of all."""
    changes = {path: mixing - np.eye(len(mixing)) for path, mixing in mixings.items()}
    return changes, max((float(np.abs(change).max()) for change in changes.values()), default=0.0) or 1.0


def _colours(share: np.ndarray) -> np.ndarray:
    """[H, W] in -1 ... 1 -> [H, W, 4], bytes."""
    pixels = np.zeros((*share.shape, 4), dtype=np.uint8)
    pixels[..., :3] = np.where((share >= 0)[..., None], ADDS, TAKES)
    pixels[..., 3] = np.round(255 * np.abs(share).clip(0, 1) ** 0.75)
    return pixels
