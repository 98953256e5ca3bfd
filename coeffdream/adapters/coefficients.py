"""The learned head-mixing coefficients of one attention layer (arXiv 2503.18337, Eq. 9-12).

Shape letters: H heads, G groups of them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from coeffdream.config import Parametrisation
from coeffdream.diffusion.noise import generator_for


class SubspaceCoefficients(nn.Module):
    """alpha [H, H], float32, and how it becomes the matrix that mixes the softmax maps of the heads.

    residual: alpha' = I + Dropout(alpha), alpha starts at zero, so the untouched model is the start.
    direct-identity, direct-random: alpha' = Dropout(alpha), alpha starts at I, or at normal values of
    standard deviation 1/sqrt(H), which keeps the size of the output (the ablations of Table 5a).

    With groups, each H/G heads in a row are mixed among themselves, as if they were all the heads: alpha
    [G, H/G, H/G] are the blocks on the diagonal, and beside them is nothing.
    """

    keep: Tensor

    def __init__(
        self, heads: int, *, dropout: float, parametrisation: Parametrisation, groups: int = 1
    ) -> None:
        super().__init__()
        self.heads = heads
        self.groups = groups
        self.dropout = dropout
        self.parametrisation = parametrisation
        self.strength = 1.0
        size = heads // groups
        self.alpha = nn.Parameter(torch.zeros((groups, size, size) if groups > 1 else (heads, heads)))
        # The mask of Eq. 12. Set once per step by `Adapter.set_masks`, so that a recomputed forward
        # (gradient checkpointing) and a resumed run see the mask of the first pass.
        self.register_buffer("keep", torch.ones_like(self.alpha.detach()), persistent=False)

    @property
    def residual(self) -> bool:
        return self.parametrisation == "residual"

    @property
    def learned(self) -> Tensor:
        """alpha' - I as it was learned, at full strength. [H, H]."""
        alpha = self.whole(self.alpha)
        return alpha if self.residual else alpha - torch.eye(self.heads, device=alpha.device)

    def whole(self, alpha: Tensor) -> Tensor:
        """[H, H] of what has alpha's shape."""
        return torch.block_diag(*alpha) if self.groups > 1 else alpha

    @torch.no_grad()
    def fill(self, whole: Tensor) -> None:
        """Take over alpha from [H, H]. Raises ValueError where heads of two groups are mixed."""
        if self.groups > 1:
            size = self.alpha.shape[-1]
            blocks = torch.stack([whole[at : at + size, at : at + size] for at in range(0, self.heads, size)])
            if not torch.equal(self.whole(blocks), whole):
                raise ValueError(f"heads are mixed across its {self.groups} groups")
            whole = blocks
        self.alpha.copy_(whole)

    @torch.no_grad()
    def initialise(self, seed: int, layer: int) -> None:
        if self.parametrisation == "direct-identity":
            self.alpha.copy_(torch.eye(self.alpha.shape[-1]))
        elif self.parametrisation == "direct-random":
            shape = self.alpha.shape
            drawn = torch.randn(shape, generator=generator_for(seed, "alpha-init", layer))
            self.alpha.copy_(drawn / shape[-1] ** 0.5)
        else:
            self.alpha.zero_()

    def drawn_mask(self, seed: int, step: int, layer: int) -> Tensor:
        """Of Eq. 12 for this step, shaped as alpha, on the CPU: 0 where a coefficient is left out, else 1 / (1 - dropout)."""
        generator = generator_for(seed, "alpha-dropout", step, layer)
        uniform = torch.rand(self.alpha.shape, generator=generator)
        return (uniform >= self.dropout).float() / (1 - self.dropout)

    def forward(self) -> Tensor:
        """The part of alpha' that is learned: alpha' - I when residual, else alpha' itself. [H, H]."""
        alpha = self.whole(self.alpha * self.keep if self.training else self.alpha)
        if self.residual:
            return self.strength * alpha
        if self.strength != 1.0:
            return torch.lerp(torch.eye(self.heads, device=alpha.device), alpha, self.strength)
        return alpha
