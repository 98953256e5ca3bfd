"""What the learned coefficients look like: numbers per layer, and one heatmap of all layers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from coeffdream.errors import AdapterError
from coeffdream.records.files import replacing
from coeffdream.records.run import COEFF_FILE


@dataclass(frozen=True)
class LayerMixing:
    """One layer's alpha' [H, H] (Eq. 11), in numbers.

    `norm`: Frobenius norm of alpha' - I, how far the layer moved from the untouched model; `off_diagonal`:
    the same without the diagonal, how much its heads mix.
    `negative`: share of negative entries of alpha', which no softmax map could hold.
    `pairs`: the strongest off-diagonal entries, (head, mixed-in head, weight).
    """

    path: str
    heads: int
    norm: float
    off_diagonal: float
    low: float
    high: float
    negative: float
    pairs: tuple[tuple[int, int, float], ...]


def read_mixing(adapter: Path) -> dict[str, np.ndarray]:
    """alpha' of every layer that has one, by module path, float32. Raises AdapterError."""
    from safetensors import SafetensorError, safe_open

    file = adapter / COEFF_FILE
    if not file.is_file():
        raise AdapterError(
            f"{adapter} holds no {COEFF_FILE}: a method without coefficients has no alpha to look at"
        )
    try:
        with safe_open(file, "np") as opened:
            residual = (opened.metadata() or {}).get("coeffdream.parametrisation", "residual") == "residual"
            tensors = {key.removesuffix(".alpha"): opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise AdapterError(f"{file} is not a readable safetensors file ({error}); copy it again") from None
    for path, alpha in tensors.items():
        if alpha.ndim != 2 or alpha.shape[0] != alpha.shape[1] or not np.isfinite(alpha).all():
            raise AdapterError(f"{file}: {path} is no square matrix of finite numbers; copy the file again")
    return {
        path: alpha + np.eye(len(alpha), dtype=alpha.dtype) * residual
        for path, alpha in sorted(tensors.items(), key=lambda item: _in_model_order(item[0]))
    }


def _in_model_order(path: str) -> list[tuple[int, str]]:
    """Sorts transformer_blocks.10 after transformer_blocks.9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in path.split(".")]


def describe(path: str, mixing: np.ndarray, top: int = 2) -> LayerMixing:
    """The numbers of one layer."""
    heads = len(mixing)
    off_diagonal = mixing - np.diag(np.diag(mixing))
    order = np.argsort(-np.abs(off_diagonal), axis=None)[: min(top, heads * (heads - 1))]
    rows, columns = np.unravel_index(order, mixing.shape)
    return LayerMixing(
        path=path,
        heads=heads,
        norm=float(np.linalg.norm(mixing - np.eye(heads))),
        off_diagonal=float(np.linalg.norm(off_diagonal)),
        low=float(mixing.min()),
        high=float(mixing.max()),
        negative=float((mixing < 0).mean()),
        pairs=tuple((int(r), int(c), float(mixing[r, c])) for r, c in zip(rows, columns, strict=True)),
    )


def heatmap(mixings: dict[str, np.ndarray], file: Path) -> None:
    """alpha' - I of every layer on one colour scale; red adds a head's map, blue takes it away."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    changes = {path: mixing - np.eye(len(mixing)) for path, mixing in mixings.items()}
    limit = max(float(np.abs(change).max()) for change in changes.values()) or 1.0
    columns = min(10, math.ceil(math.sqrt(len(changes) * 1.6)))
    rows = math.ceil(len(changes) / columns)
    width, height = 1.5 * columns + 1, 1.7 * rows + 0.9
    figure, axes = pyplot.subplots(rows, columns, figsize=(width, height), squeeze=False)
    # By hand: matplotlib's own layouts take most of a minute over SDXL's 140 panels.
    figure.subplots_adjust(
        left=0.1 / width,
        right=1 - 0.9 / width,
        bottom=0.1 / height,
        top=1 - 0.7 / height,
        wspace=0.1,
        hspace=0.25,
    )
    image: Any = None
    for axis, (path, change) in zip(axes.flat, changes.items(), strict=False):
        image = axis.imshow(change, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
        axis.set_title(short_path(path), fontsize=6)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_frame_on(axis.has_data())
    title = "alpha' − I per attention layer: rows are heads, columns the heads mixed in"
    figure.suptitle(title, fontsize=9, y=1 - 0.2 / height)
    figure.colorbar(image, cax=figure.add_axes((1 - 0.75 / width, 0.25, 0.15 / width, 0.5)))
    with replacing(file) as temporary:
        figure.savefig(temporary, dpi=130, format="png")
    pyplot.close(figure)


def short_path(path: str) -> str:
    """A module path as a label: down_blocks.1.attentions.0.transformer_blocks.0.attn1 -> down 1.0.0 self."""
    parts = path.split(".")
    numbers = ".".join(part for part in parts if part.isdigit())
    kind = {"attn1": "self", "attn2": "cross"}.get(parts[-1], parts[-1])
    return f"{parts[0].split('_')[0]} {numbers} {kind}"
