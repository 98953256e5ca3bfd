"""Two looks at one picture: random crops with DINO's changes of colour, at times with a stranger's picture around.

No look knows who is shown. A picture's middle pasted over another picture (CutMix, Yun et al. 2019, with the box where
photographers put their subject) is still a look at the first: what stays the same is the middle, so the middle counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

# Milder than DINO's own (0.4, 0.4, 0.2, 0.1): what tells these individuals apart is colour first. Hue in turns.
BRIGHTNESS = CONTRAST = 0.3
SATURATION, HUE = 0.2, 0.04
GRAY = 0.1  # share of looks
AREA = (0.35, 1.0)  # of the picture
ASPECT = 4 / 3
HALF_BOX = (0.45, 0.8)  # half sides of the middle, of half the picture's side

_TO_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


@dataclass
class Looks:
    """images float [n, 3, side, side] in [0, 1]; own [n, 1, H, W], 1 where the picture is its own and 0 where a
    stranger's; and where each crop lies in coordinates of [-1, 1]: centre [n, 2] and half [n, 2], as (x, y), the
    half of x negative where the crop is mirrored."""

    images: torch.Tensor
    own: torch.Tensor
    centre: torch.Tensor
    half: torch.Tensor

    def in_picture(self, points: torch.Tensor) -> torch.Tensor:
        """Points [n, k, 2] of the crop, in the picture's coordinates."""
        return points * self.half[:, None] + self.centre[:, None]

    def in_crop(self, points: torch.Tensor) -> torch.Tensor:
        """Points [n, k, 2] of the picture, in the crop's coordinates; outside [-1, 1] where the crop does not show
        them."""
        return (points - self.centre[:, None]) / self.half[:, None]


def looks_at(
    pictures: torch.Tensor, side: int, pasted: float, colour: float, generator: torch.Generator
) -> Looks:
    """One random look at each of `pictures`, float [n, 3, H, W] in [0, 1]; a share `pasted` of them with a stranger
    around the middle, and the colours changed at `colour` times the full strengths."""
    own = _own_part(pictures, pasted, generator)
    stranger = pictures.roll(int(torch.randint(1, len(pictures), (), generator=generator)), 0)
    mixed = torch.where(own > 0, pictures, stranger)
    centre, half = _crops(len(pictures), generator)
    where = torch.zeros(len(pictures), 2, 3)
    where[:, 0, 0], where[:, 1, 1] = half.unbind(1)
    where[:, :, 2] = centre
    grid = F.affine_grid(where, [len(pictures), 3, side, side], align_corners=False)
    cropped = F.grid_sample(mixed, grid, padding_mode="border", align_corners=False)
    return Looks(_recoloured(cropped, colour, generator), own, centre, half)


def centres(patches: int) -> torch.Tensor:
    """[patches squared, 2], as (x, y): the patches' centres row by row in coordinates of [-1, 1]."""
    line = (torch.arange(patches) + 0.5) * 2 / patches - 1
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([x, y], -1).reshape(-1, 2)


def at(maps: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """[n, C, H, W] at [n, k, 2] in coordinates of [-1, 1]: [n, k, C]."""
    found = F.grid_sample(maps, points[:, :, None], padding_mode="border", align_corners=False)
    return found[..., 0].transpose(1, 2)


def _uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> torch.Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator)


def _own_part(pictures: torch.Tensor, pasted: float, generator: torch.Generator) -> torch.Tensor:
    n, _, height, width = pictures.shape
    one = (n, 1, 1, 1)
    x, y = ((torch.arange(size) + 0.5) * 2 / size - 1 for size in (width, height))
    across = (x - _uniform(one, -0.12, 0.12, generator)).abs() < _uniform(one, *HALF_BOX, generator)
    down = (y[:, None] - _uniform(one, -0.06, 0.14, generator)).abs() < _uniform(one, *HALF_BOX, generator)
    whole = torch.rand(one, generator=generator) >= pasted
    return ((across & down) | whole).float()


def _crops(n: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    area = _uniform((n,), *AREA, generator)
    aspect = torch.exp(_uniform((n,), -math.log(ASPECT), math.log(ASPECT), generator))
    half = torch.stack([area * aspect, area / aspect], 1).sqrt().clamp_max(1)
    centre = _uniform((n, 2), -1, 1, generator) * (1 - half)
    mirrored = torch.rand(n, generator=generator) < 0.5
    half[:, 0] *= 1 - 2 * mirrored.float()
    return centre, half


def _recoloured(images: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    one = (len(images), 1, 1, 1)
    images = images * (1 + strength * _uniform(one, -BRIGHTNESS, BRIGHTNESS, generator))
    mean = images.mean((1, 2, 3), keepdim=True)
    images = (images - mean) * (1 + strength * _uniform(one, -CONTRAST, CONTRAST, generator)) + mean
    turn = strength * _uniform((len(images),), -HUE, HUE, generator) * 2 * math.pi
    vivid = 1 + strength * _uniform((len(images),), -SATURATION, SATURATION, generator)
    turned = torch.zeros(len(images), 3, 3)
    turned[:, 0, 0] = 1
    turned[:, 1, 1] = turned[:, 2, 2] = turn.cos() * vivid
    turned[:, 1, 2], turned[:, 2, 1] = -turn.sin() * vivid, turn.sin() * vivid
    images = torch.einsum("nij,njhw->nihw", torch.linalg.inv(_TO_YIQ) @ turned @ _TO_YIQ, images)
    gray = torch.rand(one, generator=generator) < strength * GRAY
    return torch.where(gray, images.mean(1, keepdim=True), images).clamp(0, 1)
