"""DINOv2 through transformers: what a picture looks like, with no words in between."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torchvision import transforms

from coeffdream.errors import ScoreError
from coeffdream.metrics.encoder import Features, versions
from coeffdream.metrics.weights import hub_files, local_file
from coeffdream.records.files import sha256_of_file, sha256_of_json
from coeffdream.records.scores import EncoderRecord

if TYPE_CHECKING:
    from PIL.Image import Image
    from transformers import Dinov2Model

DINO_MODEL = "facebook/dinov2-base"
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CROP = 224
CONFIG, WEIGHTS = "config.json", "model.safetensors"
_INSTEAD = "give a local folder: --dino-model FOLDER"


class DinoEncoder:
    """The CLS token of a DINOv2's last hidden state (after the final norm; equal to pooler_output).

    model: a hub id, or a transformers folder with config.json and model.safetensors.

    The transform is pinned here, and not taken from a processor: one built without its file has
    CLIP's mean and std, which has spoiled published scores. Published DINOv2 models look at 224 of
    256 pixels, whatever the grid (518) they were finished on; a miniature with a smaller grid looks
    at its own size, of an image resized in the same proportion.
    """

    def __init__(self, model: str = DINO_MODEL, *, device: str = "cpu") -> None:
        config_file, self._weights = _files(model)
        self._config = _configuration(config_file)
        self._device = torch.device(device)
        self._model_name = Path(model).resolve().name if Path(model).is_dir() else model
        self.name = f"DINOv2 {self._model_name}"
        self.width: int = self._config["hidden_size"]
        self._crop = min(CROP, self._config["image_size"])
        self._resize = round(self._crop * 256 / 224)
        self._transform = transforms.Compose(
            [
                transforms.Resize(self._resize, transforms.InterpolationMode.BICUBIC, antialias=True),
                transforms.CenterCrop(self._crop),
                transforms.ToTensor(),
                transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
            ]
        )

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
        batch = torch.stack([self._transform(image) for image in images]).to(self._device)
        # Convolutions run in TF32 by default on a GPU: a thousandth off, enough to move a score's last digit.
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            return self.model(pixel_values=batch).last_hidden_state[:, 0].float().cpu().numpy()

    @functools.cached_property
    def model(self) -> Dinov2Model:
        """The transformers model itself, in float32 and eval mode."""
        from transformers import Dinov2Model
        from transformers.utils import logging

        logging.disable_progress_bar()  # coeffdream shows a bar of its own
        try:
            loaded: Any = Dinov2Model.from_pretrained(
                self._weights.parent,
                local_files_only=True,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
        except Exception as error:  # a wrong shape or a damaged file: each library its own
            raise ScoreError(
                f"{self._weights} cannot be loaded as a DINOv2 ({str(error).splitlines()[0]}); fetch it again"
            ) from error
        model, loading = loaded
        if loading["missing_keys"]:
            # transformers would go on with random numbers in their place.
            missing = ", ".join(sorted(loading["missing_keys"])[:3])
            raise ScoreError(
                f"{self._weights} lacks {missing}, ...; it is not a whole DINOv2, so fetch it again"
            )
        return model.to(self._device).eval()

    @functools.cached_property
    def _weights_sha256(self) -> str:
        return sha256_of_file(self._weights)


def _files(model: str) -> tuple[Path, Path]:
    if Path(model).is_dir():
        holds = f"a local DINOv2 is a folder with {CONFIG} and {WEIGHTS}, as transformers saves it"
        return local_file(Path(model), CONFIG, holds=holds), local_file(Path(model), WEIGHTS, holds=holds)
    if model.count("/") != 1 or model.startswith((".", "/", "~")):
        raise ScoreError(f"--dino-model {model!r} is neither a folder nor a hub id such as {DINO_MODEL}")
    config, weights = hub_files(model, (CONFIG, WEIGHTS), instead=_INSTEAD)
    return config, weights


def _configuration(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        kind = config["model_type"]
        _ = config["hidden_size"], config["image_size"]
    except (ValueError, KeyError, TypeError) as error:
        raise ScoreError(
            f"{path} is not a DINOv2's configuration ({error!r}); give another --dino-model"
        ) from None
    if kind != "dinov2":
        raise ScoreError(f"{path} describes a {kind!r}, not a dinov2; give a DINOv2 as --dino-model")
    return config
