"""DINOv2 and DINO through transformers: what a picture looks like, with no words in between."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torchvision import transforms

from coeffdream.metrics.encoder import Features, versions
from coeffdream.metrics.weights import configuration, named_files, whole_model
from coeffdream.records.encoders import EncoderRecord
from coeffdream.records.files import sha256_of_file, sha256_of_json

if TYPE_CHECKING:
    from PIL.Image import Image
    from transformers import Dinov2Model, ViTModel

DINO_MODEL = "facebook/dinov2-base"
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CROP = 224


@dataclass(frozen=True)
class Family:
    """One generation of DINO. `kind`: transformers' model_type; `flag`: the option that names another model."""

    title: str
    kind: str
    model: str
    flag: str


DINOV2 = Family("DINOv2", "dinov2", DINO_MODEL, "--dino-model")
# DreamBooth's own (arXiv 2208.12242, 4.2).
DINO_VITS16 = Family("DINO", "vit", "facebook/dino-vits16", "--dino-vits16-model")


class DinoEncoder:
    """The CLS token of a DINO's last hidden state (after the final norm), and the tokens of its patches.

    model: a hub id, or a transformers folder with config.json and model.safetensors; None for the family's own.

    The transform is pinned here, and not taken from a processor: one built without its file has
    CLIP's mean and std, which has spoiled published scores. Published DINOv2 models look at 224 of
    256 pixels, whatever the grid (518) they were finished on; a miniature with a smaller grid looks
    at its own size, of an image resized in the same proportion.
    """

    def __init__(self, model: str | None = None, *, device: str = "cpu", family: Family = DINOV2) -> None:
        model = model or family.model
        self._family = family
        config_file, self._weights = named_files(model, family.model, family.flag, family.title)
        self._config = configuration(
            config_file, family.kind, family.title, family.flag, ("hidden_size", "image_size", "patch_size")
        )
        self._device = torch.device(device)
        self._model_name = Path(model).resolve().name if Path(model).is_dir() else model
        self.name = f"{family.title} {self._model_name}"
        self.width: int = self._config["hidden_size"]
        self._crop = min(CROP, self._config["image_size"])
        self._resize = round(self._crop * 256 / 224)
        self._transform = transforms.Compose(
            [
                *self._shown(transforms.InterpolationMode.BICUBIC),
                transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
            ]
        )
        # Area shares: nothing of the thing comes from beyond its edge.
        self._cover = transforms.Compose(self._shown(transforms.InterpolationMode.BOX))

    def _shown(self, interpolation: transforms.InterpolationMode) -> list[Any]:
        return [
            transforms.Resize(self._resize, interpolation, antialias=True),
            transforms.CenterCrop(self._crop),
            transforms.ToTensor(),
        ]

    def describe(self) -> EncoderRecord:
        return EncoderRecord(
            name=self.name,
            model=self._model_name,
            pretrained=self._weights.name,
            weights_sha256=self._weights_sha256,
            config_sha256=sha256_of_json(self._config),
            preprocessing={
                "shortest_edge": self._resize,
                "interpolation": "bicubic",
                "antialias": True,
                "centre_crop": self._crop,
                "mean": list(IMAGENET_MEAN),
                "std": list(IMAGENET_STD),
            },
            feature="CLS of the last hidden state",
            width=self.width,
            versions=versions("transformers", "torch", "torchvision", "pillow"),
        )

    def images(self, images: Sequence[Image]) -> Features:
        return self._hidden(images)[:, 0].cpu().numpy()

    def patches(self, images: Sequence[Image]) -> Features:
        """One batch of RGB pictures -> [n, P, width]: the tokens of the P patches, row by row, not normalised.

        They are those of the layer that `out_indices` of config.json names, transformers' own word for where a model's
        map of features is taken: of the published DINOv2 the last. A miniature without its training of patches mixes
        what is around a patch into it, the more the later the layer.
        """
        return self._hidden(images, self._config.get("out_indices", [-1])[-1])[:, 1:].cpu().numpy()

    def cover(self, mask: Image) -> Features:
        """Which share of each of the P patches a mask (mode L) of a picture covers, 0 to 1: [P]."""
        side = self._config["patch_size"]
        return torch.nn.functional.avg_pool2d(self._cover(mask), side).flatten().numpy()

    def _hidden(self, images: Sequence[Image], layer: int = -1) -> torch.Tensor:
        batch = torch.stack([self._transform(image) for image in images]).to(self._device)
        # Convolutions run in TF32 by default on a GPU: a thousandth off, enough to move a score's last digit.
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            states = self.model(pixel_values=batch, output_hidden_states=True).hidden_states
            return self.model.layernorm(states[layer]).float()

    @functools.cached_property
    def model(self) -> Dinov2Model | ViTModel:
        """The transformers model itself, in float32 and eval mode."""
        from transformers import Dinov2Model, ViTModel

        if self._family is DINOV2:
            model = whole_model(Dinov2Model, self._weights, "DINOv2")
        else:
            model = whole_model(ViTModel, self._weights, "DINO", add_pooling_layer=False)
        return model.to(self._device)

    @functools.cached_property
    def _weights_sha256(self) -> str:
        return sha256_of_file(self._weights)
