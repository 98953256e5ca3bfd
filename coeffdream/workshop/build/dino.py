"""The DINO scorer, a Dinov2Model: self-supervised from two looks at one picture. Nobody tells it who is who.

The architecture is DINOv2's; the objective is the plainer contrast between looks (NT-Xent), which needs no teacher
and settles in minutes. The same contrast between patches that show the same point gives patch tokens a meaning.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from transformers import Dinov2Config, Dinov2Model

from coeffdream.workshop.build.crops import Looks, at, centres, looks_at
from coeffdream.workshop.build.export import tidy_configs
from coeffdream.workshop.build.loop import Budget, Recipe, Trained, ema_of, run_loop
from coeffdream.workshop.build.shards import SHARD, shard, shards

# Without AVX-512 a CPU's bfloat16 is many times slower than float32.
RECIPE = Recipe("dino", learning_rate=1.5e-3, batch_size=64, ema=0.99, weight_decay=0.04, bfloat16=False)
FIRST_SHARD = 80  # pictures that no other part saw
# From which step on: share of looks with a stranger around the middle, strength of the changes of colour, and
# temperature. First the thing, then its place and its colours as well.
STAGES = (
    (0, 0.4, 1.0, 0.2),
    (474, 0.15, 1.0, 0.2),
    (1203, 0.05, 1.0, 0.15),
    (2496, 0.05, 1.0, 0.1),
    (3130, 0.05, 0.4, 0.2),
)
CENTRED = 0.5
DENSE = 0.5  # weight of the patches' contrast
POINTS = 8  # of each picture
PATCH = 8
SMALL = (48, 0.75)  # side of the smaller looks, and their share: they cost half
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def new_dino() -> Dinov2Model:
    return Dinov2Model(
        Dinov2Config(
            hidden_size=96,
            num_hidden_layers=4,
            num_attention_heads=4,
            mlp_ratio=4,
            image_size=64,
            patch_size=PATCH,
            layerscale_value=1.0,
            # Where the patches are taken that subject alignment reads: later ones know too much of the place.
            out_indices=[1],
        )
    )


def seen(pixels: torch.Tensor) -> torch.Tensor:
    """uint8 pictures as DINOv2's transform shows them: a little larger, the centre of it, ImageNet's mean and std."""
    images = pixels.float() / 255
    larger = F.interpolate(images, size=73, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
    return normalised(larger[..., 4:68, 4:68])


def normalised(images: torch.Tensor) -> torch.Tensor:
    """[0, 1] to ImageNet's mean and std."""
    mean, std = (
        torch.tensor(value, device=images.device).view(3, 1, 1) for value in (IMAGENET_MEAN, IMAGENET_STD)
    )
    return (images - mean) / std


class _Student(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dino = new_dino()
        self.head, self.dense_head = (
            nn.Sequential(nn.Linear(96, 192), nn.GELU(), nn.Linear(192, 64)) for _ in range(2)
        )

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Codes of length 1: of the looks [n, 64] and of their patches [n, 64, rows, columns]."""
        tokens = self.dino(images).last_hidden_state.float()
        side = images.shape[-1] // PATCH
        patches = F.normalize(self.dense_head(tokens[:, 1:]), dim=-1)
        return F.normalize(self.head(tokens[:, 0]), dim=-1), patches.transpose(1, 2).unflatten(
            2, (side, side)
        )


def contrast(first: torch.Tensor, second: torch.Tensor, temperature: float) -> tuple[torch.Tensor, float]:
    """NT-Xent of two codes [n, d] of the same n things, and the share of the first that find their second."""
    logits = first @ second.T / temperature
    target = torch.arange(len(first), device=first.device)
    loss = 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target))
    return loss, float((logits.argmax(1) == target).float().mean())


def same_points(
    looks: Sequence[Looks], maps: tuple[torch.Tensor, torch.Tensor], generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes [m, d] of up to POINTS patches of each first look, and of the second looks' maps at the same points of
    the picture: those that both crops show and that no stranger covers."""
    device, (n, _, rows, _) = maps[0].device, maps[0].shape
    grid = centres(rows).expand(n, -1, 2)
    points = looks[0].in_picture(grid)
    there = looks[1].in_crop(points)
    shown = (there.abs() <= 0.9).all(-1)
    for look in looks:
        shown &= at(look.own, points)[..., 0] > 0.99
    order = torch.rand(shown.shape, generator=generator) + shown
    chosen = order.topk(POINTS, 1).indices
    both = shown.gather(1, chosen)
    first = (
        maps[0]
        .flatten(2)
        .transpose(1, 2)
        .gather(1, chosen[..., None].expand(-1, -1, maps[0].shape[1]).to(device))
    )
    second = at(maps[1], there.gather(1, chosen[..., None].expand(-1, -1, 2)).to(device))
    return first[both], F.normalize(second[both], dim=-1)


def train_dino(
    out: Path, budget: Budget, device: torch.device, seed: int = 0, count: int = 5, size: int = SHARD
) -> Trained:
    torch.manual_seed(seed)
    model = _Student().to(device)
    pictures = shards(out, FIRST_SHARD, count, size).pixels

    def loss_of(step: int, generator: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        rows = torch.randperm(len(pictures), generator=generator)[: RECIPE.batch_size // 2]
        images = pictures[rows].float() / 255
        side = SMALL[0] if torch.rand((), generator=generator) < SMALL[1] else 64
        _, pasted, colour, temperature = [stage for stage in STAGES if stage[0] <= step][-1]
        looks = [looks_at(images, side, pasted, colour, generator) for _ in range(2)]
        codes, maps = model(normalised(torch.cat([look.images for look in looks]).to(device)))
        whole, found = contrast(*codes.chunk(2), temperature)
        dense, found_points = contrast(*same_points(looks, maps.chunk(2), generator), temperature)
        parts = {"whole": whole.item(), "found": found, "dense": dense.item(), "found_points": found_points}
        return whole + DENSE * dense, parts

    return run_loop(model, loss_of, RECIPE, budget, out, seed)


@torch.no_grad()
def centred(model: Dinov2Model, pixels: torch.Tensor) -> Dinov2Model:
    """`model` with CENTRED of its mean CLS over `pixels` (uint8 [n, 3, 64, 64]) taken off, by the last norm's bias.

    What all pictures have in common says nothing of any of them and fills every cosine; DINO centres its outputs too.
    """
    mean = torch.cat([model(seen(part)).pooler_output for part in pixels.split(64)]).mean(0)
    model.layernorm.bias -= CENTRED * mean
    return model


def trained_dino(out: Path, size: int = SHARD) -> Dinov2Model:
    model = _Student()
    model.load_state_dict(ema_of(out, "dino"))
    return centred(model.dino.eval().requires_grad_(False), shard(out, FIRST_SHARD, size).pixels[:1024])


def export_dino(out: Path, target: Path) -> None:
    """A transformers folder of a Dinov2Model."""
    trained_dino(out).half().save_pretrained(target)
    tidy_configs(target)
