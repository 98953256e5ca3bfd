"""What an adapter does to one module, whatever file it came from, and the formulas of it.

Shape letters: out, in: of the module's weight (a convolution's has kh, kw behind them); r rank.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from coeffdream.errors import AdapterError


@dataclass(frozen=True)
class LowRank:
    """scale * up @ down. down [r, in, ...], up [out, r, ...]."""

    down: Tensor
    up: Tensor
    scale: float = 1.0

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    def delta(self) -> Tensor:
        """[out, in, ...], float32."""
        product = self.up.float().flatten(1) @ self.down.float().flatten(1)
        return self.scale * product.view(self.up.shape[0], *self.down.shape[1:])


@dataclass(frozen=True)
class Whole:
    """A change given entry by entry: of a Hadamard or Kronecker product, or a difference of weights."""

    values: Tensor

    def delta(self) -> Tensor:
        return self.values.float()


@dataclass(frozen=True)
class Magnitude:
    """DoRA's trained norms: of the rows of the weight, values [out], or of its columns, values [in].

    over: what the values are divided by: the norms of the changed weight, as DoRA was trained
    (arXiv 2402.09353, Eq. 5), or those of the untouched weight, as ComfyUI reads the files with rows.
    """

    values: Tensor
    axis: Literal["out", "in"] = "out"
    over: Literal["changed", "untouched"] = "changed"


@dataclass(frozen=True)
class Change:
    """W' = W + delta, and with a magnitude: every row or column of it brought to a length of its own."""

    added: LowRank | Whole
    magnitude: Magnitude | None = None

    def factors(self, weight: Tensor) -> Tensor | None:
        """What the rows (columns) of W + delta are multiplied with: float32, shaped to broadcast over W."""
        if self.magnitude is None:
            return None
        untouched = weight.float()
        of = untouched + self.added.delta() if self.magnitude.over == "changed" else untouched
        return self.magnitude.values.float().view(_along(weight, self.magnitude.axis)) / norms(
            of, self.magnitude.axis
        )

    def apply(self, weight: Tensor) -> Tensor:
        """W', float32."""
        changed = weight.float() + self.added.delta()
        factors = self.factors(weight)
        return changed if factors is None else factors * changed


def _along(weight: Tensor, axis: str) -> tuple[int, ...]:
    shape = [1] * weight.ndim
    shape[0 if axis == "out" else 1] = -1
    return tuple(shape)


def norms(weight: Tensor, axis: str) -> Tensor:
    """The length of each row (column) of a weight, shaped to broadcast over it."""
    kept = 0 if axis == "out" else 1
    others = [dim for dim in range(weight.ndim) if dim != kept]
    return torch.linalg.vector_norm(weight, dim=others, keepdim=True)


def comfy_dora_scale(change: Change, weight: Tensor) -> Tensor:
    """The `dora_scale` [out, 1] with which ComfyUI and Forge compute what was trained.

    They multiply W + BA with dora_scale / ||W||; DoRA is m (W + BA) / ||W + BA||. So it is m ||W|| / ||W + BA||.
    """
    factors = change.factors(weight)
    assert factors is not None
    return (factors * norms(weight.float(), "out")).view(-1, *[1] * (weight.ndim - 1))


def nearest_low_rank(delta: Tensor, rank: int) -> tuple[LowRank, float]:
    """The LoRA of `rank` nearest to a change of weights (Eckart-Young), and the relative error of it.

    Error: ||delta - its LoRA|| / ||delta||, Frobenius; 0 for a change that is nothing.
    """
    flat = delta.float().flatten(1)
    if rank > min(flat.shape):
        raise AdapterError(
            f"--as-lora {rank} is more than the {min(flat.shape)} that a matrix of {list(flat.shape)} can have; give less"
        )
    left, values, right = torch.linalg.svd(flat, full_matrices=False)
    root = values[:rank].sqrt()
    whole = float(values.square().sum())
    error = math.sqrt(float(values[rank:].square().sum()) / whole) if whole > 0 else 0.0
    down = (root[:, None] * right[:rank]).view(rank, *delta.shape[1:])
    up = (left[:, :rank] * root).view(-1, rank, *[1] * (delta.ndim - 2))
    return LowRank(down.contiguous(), up.contiguous()), error
