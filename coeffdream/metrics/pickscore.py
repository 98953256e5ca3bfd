"""PickScore (arXiv 2305.01569) through transformers: which picture people would rather have for a prompt."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from coeffdream.metrics.encoder import Features, versions
from coeffdream.metrics.weights import configuration, named_files, whole_model
from coeffdream.records.encoders import EncoderRecord
from coeffdream.records.files import sha256_of_file, sha256_of_json

if TYPE_CHECKING:
    from PIL.Image import Image

PICKSCORE_MODEL = "yuvalkirstain/PickScore_v1"
FLAG = "--pickscore-model"


class PickScoreEncoder:
    """A CLIP that learned from people's choices. A value is its logit scale times the cosine of picture and text.

    model: a hub id, or a transformers folder with config.json and model.safetensors of a CLIPModel; the
    tokens are CLIP's own, as open_clip has them.
    """

    def __init__(self, model: str | None = None, *, device: str = "cpu") -> None:
        from open_clip import get_tokenizer
        from open_clip.transform import PreprocessCfg, image_transform_v2

        model = model or PICKSCORE_MODEL
        config_file, self._weights = named_files(model, PICKSCORE_MODEL, FLAG, "PickScore")
        self._config = configuration(config_file, "clip", "PickScore", FLAG, ("vision_config", "text_config"))
        self._device = torch.device(device)
        self._model_name = Path(model).resolve().name if Path(model).is_dir() else model
        self.name = f"PickScore {self._model_name}"
        self._preprocess = PreprocessCfg(size=self._config["vision_config"].get("image_size", 224))
        self._transform = image_transform_v2(self._preprocess, is_train=False)
        self._tokenizer = get_tokenizer(
            "ViT-H-14", context_length=self._config["text_config"].get("max_position_embeddings", 77)
        )

    def describe(self) -> EncoderRecord:
        return EncoderRecord(
            name=self.name,
            model=self._model_name,
            pretrained=self._weights.name,
            weights_sha256=self._weights_sha256,
            config_sha256=sha256_of_json(self._config),
            preprocessing={
                "shortest_edge": self._preprocess.size,
                "interpolation": self._preprocess.interpolation,
                "mean": list(self._preprocess.mean),
                "std": list(self._preprocess.std),
            },
            feature="logit scale times cosine",
            width=1,
            versions=versions("transformers", "open_clip_torch", "torch", "torchvision", "pillow"),
        )

    def values(self, images: Sequence[Image], texts: Sequence[str]) -> Features:
        pixels = torch.stack([self._transform(image) for image in images]).to(self._device)
        tokens = self._tokenizer(list(texts)).to(self._device)
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            output = self.model(input_ids=tokens, pixel_values=pixels)
            cosines = (output.image_embeds * output.text_embeds).sum(dim=-1)
            return (self.model.logit_scale.exp() * cosines).float().cpu().numpy()

    @functools.cached_property
    def model(self) -> Any:
        """The transformers CLIPModel, in float32 and eval mode."""
        from transformers import CLIPModel

        return whole_model(CLIPModel, self._weights, "PickScore").to(self._device)

    @functools.cached_property
    def _weights_sha256(self) -> str:
        return sha256_of_file(self._weights)
