"""What one attention layer can express: the graph of Section 4.1 and Fig. 3 of arXiv 2503.18337.

Eight nodes on a square are to be moved; four of them leave the square. Softmax maps average, so whatever queries
and keys are learned, every output stays in the convex hull of the values. The coefficients may subtract one
head's map from another's, and leave it.

Shape letters: S seeds, H heads, N = 8 nodes, d width of a head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from coeffdream.attention.reference import reference
from coeffdream.diffusion.noise import generator_for
from coeffdream.progress import Progress
from coeffdream.studies.options import ExpressivenessOptions

NODES = ((-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0))
TARGETS = ((-1, 1), (0, 2), (1, 1), (2, 0), (1, -1), (0, -2), (-1, -1), (-2, 0))
SOLVED = 1e-3  # mean squared error below which the targets are met

Arm = Literal["query-key", "query-key-value", "query-key-alpha"]
ARMS: dict[Arm, str] = {
    "query-key": "W_q, W_k",
    "query-key-value": "W_q, W_k, W_v",
    "query-key-alpha": "W_q, W_k, alpha",
}
# Of W_q and W_k alone: four of the eight nodes are to be a distance of 1 outside the square, in one of two coordinates.
HULL_FLOOR = 4 / (2 * len(NODES))


@dataclass(frozen=True)
class Trained:
    """One arm at its end: mean squared errors [S], outputs [S, N, 2], and alpha' [S, H, H]."""

    arm: Arm
    errors: np.ndarray
    outputs: np.ndarray
    mixing: np.ndarray

    @property
    def solved(self) -> int:
        """Seeds that met the targets."""
        return int((self.errors < SOLVED).sum())

    @property
    def middle(self) -> int:
        """The seed whose error is the (lower) median."""
        return int(np.argsort(self.errors, kind="stable")[(len(self.errors) - 1) // 2])


def layer(heads: int) -> tuple[Tensor, Tensor]:
    """The frozen W_v [H, 2, d] and W_o [H, d, 2]: each coordinate is the mean of what its heads attend to."""
    if heads == 1:
        return torch.eye(2, dtype=torch.float64)[None], torch.eye(2, dtype=torch.float64)[None]
    coordinate = torch.nn.functional.one_hot(torch.arange(heads) % 2, 2).double()
    return coordinate[:, :, None], (coordinate / coordinate.sum(0))[:, None, :]


def attend(
    nodes: Tensor, query: Tensor, key: Tensor, value: Tensor, output: Tensor, mixing: Tensor
) -> Tensor:
    """One layer for every seed. nodes [N,2]; query, key, value [S,H,2,d]; output [H,d,2]; mixing [S,H,H] -> [S,N,2]."""
    q, k, v = (torch.einsum("nc,shcd->shnd", nodes, each)[:, None] for each in (query, key, value))
    attended = torch.vmap(reference)(q, k, v, mixing)[:, 0]
    return torch.einsum("shnd,hdc->snc", attended, output)


def train_arm(arm: Arm, options: ExpressivenessOptions, progress: Progress) -> Trained:
    """Fit the targets with what this arm may train, from every seed at once. Both start from the same queries and keys."""
    nodes, targets = (torch.tensor(each, dtype=torch.float64) for each in (NODES, TARGETS))
    value, output = layer(options.heads)
    shape = (options.heads, 2, value.shape[-1])
    query, key = (
        torch.stack(
            [
                torch.randn(shape, generator=generator_for(seed, name), dtype=torch.float64)
                for seed in range(options.seeds)
            ]
        )
        for name in ("expressiveness-query", "expressiveness-key")
    )
    value = value.repeat(options.seeds, 1, 1, 1)
    identity = torch.eye(options.heads, dtype=torch.float64)
    alpha = torch.zeros(options.seeds, options.heads, options.heads, dtype=torch.float64)
    trained = [
        query,
        key,
        *([value] if arm == "query-key-value" else []),
        *([alpha] if arm == "query-key-alpha" else []),
    ]
    optimizer = torch.optim.Adam([each.requires_grad_() for each in trained], lr=options.lr)
    for step in range(options.steps):
        errors = (attend(nodes, query, key, value, output, identity + alpha) - targets).square().mean((1, 2))
        optimizer.zero_grad()
        # torch leaves backward without types.
        errors.sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step % 100 == 0 or step == options.steps - 1:
            progress(ARMS[arm], step + 1, options.steps, "")
    with torch.no_grad():
        outputs = attend(nodes, query, key, value, output, identity + alpha)
        errors = (outputs - targets).square().mean((1, 2))
    return Trained(arm, errors.numpy(), outputs.numpy(), (identity + alpha).detach().numpy())
