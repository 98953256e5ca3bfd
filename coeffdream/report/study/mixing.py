"""What the methods with coefficients learned: alpha' of every layer, over all finished cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from coeffdream.records.run import COEFF_FILE
from coeffdream.report.alpha import describe, read_mixing, short_path
from coeffdream.report.plots import HEIGHT, WIDTH, nice_ticks
from coeffdream.report.study.cells import Finished


@dataclass(frozen=True)
class Spread:
    """A number of each cell: the mean over cells and both ends."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class LayerSpread:
    """`off_diagonal`: Frobenius norm of alpha' off its diagonal; `negative`: share of negative entries."""

    label: str
    heads: int
    off_diagonal: Spread
    negative: Spread


@dataclass(frozen=True)
class MethodMixing:
    """One method over its cells. `bars` and `dots` are SVG paths: each layer's range over cells, and its mean."""

    method: str
    cells: int
    off_diagonal: Spread
    negative: Spread
    layers: list[LayerSpread]
    bars: str
    dots: str
    y_labels: list[tuple[str, float]]


def mixings(cells: Sequence[Finished], methods: Sequence[str]) -> list[MethodMixing]:
    """Every method that has coefficients, all on one scale."""
    known: list[tuple[str, int, list[LayerSpread], Spread, Spread]] = []
    for method in methods:
        files = [cell.run.adapter for cell in cells if cell.cell.arm == method]
        tables = [
            [describe(path, mixing) for path, mixing in read_mixing(file).items()]
            for file in files
            if (file / COEFF_FILE).is_file()
        ]
        if not tables or len({tuple(layer.path for layer in table) for table in tables}) > 1:
            continue
        layers = [
            LayerSpread(
                short_path(same[0].path),
                same[0].heads,
                _spread([each.off_diagonal for each in same]),
                _spread([each.negative for each in same]),
            )
            for same in zip(*tables, strict=True)
        ]
        off = _spread([float(np.mean([layer.off_diagonal for layer in table])) for table in tables])
        negative = _spread(
            [float(np.average([x.negative for x in t], weights=[x.heads**2 for x in t])) for t in tables]
        )
        known.append((method, len(tables), layers, off, negative))
    top = max((layer.off_diagonal.high for _, _, layers, _, _ in known for layer in layers), default=0.0)
    ticks = nice_ticks(0.0, top)
    return [
        MethodMixing(
            method,
            count,
            off,
            negative,
            layers,
            *_paths(layers, ticks[-1]),
            y_labels=[(f"{tick:g}", 100 * tick / ticks[-1]) for tick in ticks],
        )
        for method, count, layers, off, negative in known
    ]


def _paths(layers: Sequence[LayerSpread], top: float) -> tuple[str, str]:
    bars, dots = [], []
    for index, layer in enumerate(layers):
        x = WIDTH * (index + 0.5) / len(layers)
        low, mean, high = (
            HEIGHT * (1 - value / top)
            for value in (layer.off_diagonal.low, layer.off_diagonal.mean, layer.off_diagonal.high)
        )
        bars.append(f"M{x:.1f} {low:.1f}V{high:.1f}")
        dots.append(f"M{x:.1f} {mean:.1f}h0")
    return "".join(bars), "".join(dots)


def _spread(values: Sequence[float]) -> Spread:
    return Spread(float(np.mean(values)), min(values), max(values))
