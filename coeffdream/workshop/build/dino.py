"""The DINO scorer, a Dinov2Model: self-supervised. The same individual in two scenes is the positive pair.

The architecture is DINOv2's; the objective is the plainer contrast between pairs (NT-Xent), which needs no teacher
and settles in minutes. No label and no caption reaches it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import Dinov2Config, Dinov2Model

from coeffdream.records.files import replacing
from coeffdream.toybox.world.individual import sample_individual
from coeffdream.toybox.world.names import ACCESSORIES
from coeffdream.toybox.world.scene import compose
from coeffdream.toybox.world.wish import Wish
from coeffdream.workshop.build.export import tidy_configs
from coeffdream.workshop.build.loop import Budget, Recipe, Trained, ema_of, run_loop
from coeffdream.workshop.build.shards import framed

RECIPE = Recipe("dino", learning_rate=1e-3, batch_size=128, ema=0.99, weight_decay=0.04)
INDIVIDUALS = 16384
TEMPERATURE = 0.1
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
            patch_size=8,
            layerscale_value=1.0,
            # Where the patches are taken that subject alignment reads: later ones know too much of the place.
            out_indices=[1],
        )
    )


def seen(pixels: torch.Tensor) -> torch.Tensor:
    """uint8 pictures as DINOv2's transform shows them: a little larger, the centre of it, ImageNet's mean and std."""
    images = pixels.float() / 255
    larger = F.interpolate(images, size=73, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
    centre = larger[..., 4:68, 4:68]
    mean, std = (
        torch.tensor(value, device=pixels.device).view(3, 1, 1) for value in (IMAGENET_MEAN, IMAGENET_STD)
    )
    return (centre - mean) / std


class _Student(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dino = new_dino()
        self.head = nn.Sequential(nn.Linear(96, 192), nn.GELU(), nn.Linear(192, 64))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.dino(images).pooler_output
        return features, F.normalize(self.head(features).float(), dim=-1)


def views(out: Path, individuals: int) -> torch.Tensor:
    """uint8 [individuals, 2, 3, 64, 64]: each individual in two unrelated scenes. Drawn once."""
    path = out / "shards" / f"pairs-{individuals}.safetensors"
    if not path.exists():
        pictures = []
        for index in range(individuals):
            rng = np.random.default_rng((11, index))
            one = sample_individual(rng)
            for _ in range(2):
                worn = str(rng.choice(ACCESSORIES)) if one.faced and rng.random() < 0.3 else None
                picture, _ = framed(compose(Wish(accessory=worn), rng, one), rng)
                pictures.append(np.asarray(picture).transpose(2, 0, 1))
        path.parent.mkdir(parents=True, exist_ok=True)
        stacked = torch.from_numpy(np.stack(pictures)).contiguous()
        with replacing(path) as temporary:
            save_file({"pixels": stacked.reshape(individuals, 2, 3, 64, 64)}, temporary)
    return load_file(path)["pixels"]


def train_dino(
    out: Path, budget: Budget, device: torch.device, seed: int = 0, individuals: int = INDIVIDUALS
) -> Trained:
    torch.manual_seed(seed)
    model = _Student().to(device)
    pairs = views(out, individuals)

    def loss_of(step: int, generator: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        n = RECIPE.batch_size // 2
        rows = torch.randperm(len(pairs), generator=generator)[:n]
        images = seen(pairs[rows].transpose(0, 1).reshape(2 * n, 3, 64, 64).to(device))
        _, code = model(images)
        first, second = code.chunk(2)
        logits = first @ second.T / TEMPERATURE
        target = torch.arange(n, device=device)
        loss = 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target))
        return loss, {"found": float((logits.argmax(1) == target).float().mean())}

    return run_loop(model, loss_of, RECIPE, budget, out, seed)


def trained_dino(out: Path) -> Dinov2Model:
    model = _Student()
    model.load_state_dict(ema_of(out, "dino"))
    return model.dino.eval().requires_grad_(False)


def export_dino(out: Path, target: Path) -> None:
    """A transformers folder of a Dinov2Model."""
    trained_dino(out).half().save_pretrained(target)
    tidy_configs(target)
