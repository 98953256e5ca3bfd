"""The vision transformer that is transferred: a small one, pretrained on the drawn world, or one by name.

Either is a model of transformers for image classification whose head, `classifier`, is a linear layer.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from coeffdream.backbones.quiet import quiet
from coeffdream.diffusion.noise import normal
from coeffdream.errors import BaseModelError
from coeffdream.studies.by_name import loading_backbone
from coeffdream.studies.vit_options import WIDTH

SIDE = 32
# 4 x 4 patches and the class token; 4 layers.
SMALL: dict[str, Any] = {
    "hidden_size": WIDTH,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "image_size": SIDE,
    "patch_size": 8,
}
HEAD_STD = 0.02


@dataclass(frozen=True)
class Look:
    """How a backbone wants its pictures: their side in pixels, and mean and deviation of each channel."""

    side: int = SIDE
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)

    def batch(self, items: Sequence[tuple[Tensor, int]]) -> dict[str, Tensor]:
        """uint8 [3, S, S] and labels -> pixel_values float32 [B, 3, S, S], labels [B]."""
        pixels = torch.stack([picture for picture, _ in items]).float() / 255
        mean, std = (torch.tensor(each)[:, None, None] for each in (self.mean, self.std))
        return {
            "pixel_values": (pixels - mean) / std,
            "labels": torch.tensor([int(label) for _, label in items]),
        }


@dataclass(frozen=True)
class Backbone:
    """A pretrained model that is copied for every training, and how it wants its pictures."""

    name: str
    model: Any = field(repr=False)
    look: Look

    def for_task(self, classes: int, seed: int) -> Any:
        """A copy with a new head for so many classes; equal seeds give equal heads."""
        model = copy.deepcopy(self.model)
        # Without values, which torch would draw from the generator of everybody.
        head: nn.Linear = torch.nn.utils.skip_init(nn.Linear, model.classifier.in_features, classes)
        with torch.no_grad():
            head.weight.copy_(HEAD_STD * normal(tuple(head.weight.shape), seed, "vit-head"))
            head.bias.zero_()
        model.classifier = head
        model.num_labels = model.config.num_labels = classes
        return model


def small(classes: int, heads: int = 4, seed: int = 0) -> Any:
    """The small vision transformer with random weights."""
    from transformers import ViTConfig, ViTForImageClassification

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ViTForImageClassification(ViTConfig(**SMALL, num_attention_heads=heads, num_labels=classes))


def named(name: str) -> Backbone:
    """A backbone from the hub, its cache or a folder; safetensors only. Raises BaseModelError that says what is wrong."""
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    with loading_backbone(name):
        model = AutoModelForImageClassification.from_pretrained(name, use_safetensors=True)
        processor = AutoImageProcessor.from_pretrained(name)
    if not isinstance(getattr(model, "classifier", None), nn.Linear):
        raise BaseModelError(
            f"--backbone {name}: a {type(model).__name__} has no linear head called classifier; name a ViT, a DeiT or a "
            "DINOv2"
        )
    size = getattr(processor, "crop_size", None) or processor.size
    side = size.get("height") or size["shortest_edge"]
    return Backbone(name, model, Look(side, tuple(processor.image_mean), tuple(processor.image_std)))


def keep(model: Any, folder: Path) -> None:
    """Write the small backbone as a folder of transformers, whole or not at all."""
    from transformers import ViTImageProcessor

    begun = folder.with_name(f".{folder.name}")
    shutil.rmtree(begun, ignore_errors=True)
    with quiet():
        model.cpu().save_pretrained(begun)
        side, look = {"height": SIDE, "width": SIDE}, Look()
        ViTImageProcessor(size=side, image_mean=list(look.mean), image_std=list(look.std)).save_pretrained(
            begun
        )
    begun.replace(folder)


@torch.no_grad()
def correct(model: Any, test: Dataset[Any], look: Look, batch_size: int) -> list[bool]:
    """Whether each picture was given its own class."""
    model.eval()
    device = next(model.parameters()).device
    right: list[bool] = []
    for batch in DataLoader(test, batch_size=batch_size, collate_fn=look.batch):
        logits = model(pixel_values=batch["pixel_values"].to(device)).logits
        right += (logits.argmax(-1).cpu() == batch["labels"]).tolist()
    return right
