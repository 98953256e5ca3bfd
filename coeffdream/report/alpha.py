"""What the learned coefficients are, in numbers per layer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from coeffdream.errors import AdapterError
from coeffdream.records.run import COEFF_FILE
from coeffdream.records.tensors import open_tensors

MOST_HEADS = 1024


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
    file = adapter / COEFF_FILE
    if not file.is_file():
        raise AdapterError(
            f"{adapter} holds no {COEFF_FILE}: a method without coefficients has no alpha to look at"
        )
    try:
        opened = open_tensors(file)
        opened.check_digest()
        residual = opened.metadata.get("coeffdream.parametrisation", "residual") == "residual"
        for key, shape in opened.shapes.items():
            if len(shape) != 2 or shape[0] != shape[1] or shape[0] > MOST_HEADS:
                raise AdapterError(
                    f"{file}: {key.removesuffix('.alpha'):.80} is no square matrix of finite numbers; copy the file again"
                )
        tensors = {key.removesuffix(".alpha"): array for key, array in opened.read()}
    except (ValueError, OSError) as error:
        raise AdapterError(f"{file} is not a readable safetensors file ({error}); copy it again") from None
    for path, alpha in tensors.items():
        if not np.isfinite(alpha).all():
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


def short_path(path: str) -> str:
    """A module path as a label: down_blocks.1.attentions.0.transformer_blocks.0.attn1 -> down 1.0.0 self."""
    parts = path.split(".")
    numbers = ".".join(part for part in parts if part.isdigit())
    kind = {"attn1": "self", "attn2": "cross"}.get(parts[-1], parts[-1])
    return f"{parts[0].split('_')[0]} {numbers} {kind}"
