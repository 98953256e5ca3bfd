"""The judge: a small convolutional classifier, trained on renders only, that reads from a picture what is on it."""

from __future__ import annotations

import itertools
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from coeffdream.workshop.build.loop import Budget, Recipe, Trained, ema_of, run_loop
from coeffdream.workshop.build.shards import CLASSES, SHARD, normalised, shards

# In float32: a CPU without bfloat16 of its own takes ten times as long over it.
RECIPE = Recipe("judge", learning_rate=2e-3, batch_size=64, ema=0.99, weight_decay=0.02, bfloat16=False)
FIRST_SHARD = 60  # pictures that no other part saw
FRESH_SHARD = FIRST_SHARD + 900


class Judge(nn.Module):
    """Logits for every label of CLASSES from pictures [n, 3, 64, 64] in [-1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 32, 64, 96, 128)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, 2, 1), nn.GroupNorm(8, after), nn.ReLU()]
            layers += [nn.Conv2d(after, after, 3, 1, 1), nn.GroupNorm(8, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.heads = nn.Linear(128 * 16, sum(CLASSES.values()))

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        parts = self.heads(self.layers(images)).split(list(CLASSES.values()), 1)
        return dict(zip(CLASSES, parts, strict=True))


def softened(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Half of the pictures blurred, as a VAE would, and a little noise: a judge of content, not of sharpness."""
    size = int(torch.randint(24, 64, (), generator=generator))
    smaller = F.interpolate(images, size=size, mode="area")
    blurred = F.interpolate(smaller, size=images.shape[-1], mode="bilinear")
    half = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
    mixed = torch.where(half.to(images.device), blurred, images)
    return mixed + 0.04 * torch.randn(images.shape, generator=generator).to(images.device)


def train_judge(
    out: Path, budget: Budget, device: torch.device, seed: int = 0, count: int = 4, size: int = SHARD
) -> Trained:
    torch.manual_seed(seed)
    model = Judge().to(device)
    data = shards(out, FIRST_SHARD, count, size)

    def loss_of(step: int, generator: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        rows = torch.randint(len(data.pixels), (RECIPE.batch_size,), generator=generator)
        read = model(softened(normalised(data.pixels[rows]).to(device), generator))
        loss, right = torch.zeros((), device=device), {}
        for (name, logits), truth in zip(read.items(), data.labels[rows].T.to(device), strict=True):
            loss = loss + F.cross_entropy(logits, truth)
            right[name] = float((logits.argmax(1) == truth).float().mean())
        return loss, right

    return run_loop(model, loss_of, RECIPE, budget, out, seed)


def trained_judge(out: Path) -> Judge:
    judge = Judge()
    judge.load_state_dict(ema_of(out, "judge"))
    return judge.eval().requires_grad_(False)


@torch.no_grad()
def readings(judge: Judge, images: torch.Tensor) -> dict[str, list[int]]:
    """The judge's most likely class per label, for pictures [n, 3, 64, 64] in [-1, 1]."""
    return {name: logits.argmax(1).tolist() for name, logits in judge(images).items()}


def own_accuracy(judge: Judge, out: Path, count: int = 512) -> dict[str, float]:
    """Per label, how often the judge is right on renders that it never saw."""
    fresh = shards(out, FRESH_SHARD, 1, count)
    read = readings(judge, normalised(fresh.pixels))
    return {
        name: float((torch.tensor(read[name]) == truth).float().mean())
        for name, truth in zip(CLASSES, fresh.labels.T, strict=True)
    }
