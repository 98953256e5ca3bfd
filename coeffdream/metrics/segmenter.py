"""Where a photo shows what a word names: CLIPSeg (arXiv 2112.10003) through transformers."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from coeffdream.backbones.clip_tokenizers import clip_tokenizer
from coeffdream.errors import ScoreError
from coeffdream.metrics.weights import configuration, named_files, whole_model

if TYPE_CHECKING:
    from PIL.Image import Image

SEGMENTER = "CIDAS/clipseg-rd64-refined"
FLAG = "--model"
PREPROCESSOR = "preprocessor_config.json"


class Segmenter:
    """model: a hub id, or a transformers folder of a CLIPSegForImageSegmentation: config.json, model.safetensors
    and preprocessor_config.json. Words become tokens by CLIP's own vocabulary, so that no tokenizer's files are needed.

    Raises ScoreError when they cannot be had.
    """

    def __init__(self, model: str | None = None, *, device: str = "cpu") -> None:
        files = named_files(model or SEGMENTER, SEGMENTER, FLAG, "CLIPSeg", (PREPROCESSOR,))
        config, self._weights, self._preprocessor = files
        configuration(config, "clipseg", "CLIPSeg", FLAG, ("vision_config", "text_config"))
        self._device = torch.device(device)

    @torch.inference_mode()
    def shares(self, photo: Image, words: str) -> Tensor:
        """How sure the model is of each pixel that it shows what `words` name: [height, width] of `photo`, in [0, 1]."""
        pixels = self._prepare(images=photo, return_tensors="pt").pixel_values.to(self._device)
        tokens = clip_tokenizer("tokenizer")([words], truncation=True, return_tensors="pt").to(self._device)
        logits = self.model(**tokens, pixel_values=pixels).logits
        full = F.interpolate(
            logits.float().reshape(1, 1, *logits.shape[-2:]), (photo.height, photo.width), mode="bilinear"
        )
        return full.sigmoid()[0, 0].cpu()

    @functools.cached_property
    def model(self) -> Any:
        """The transformers CLIPSegForImageSegmentation, in float32 and eval mode."""
        from transformers import CLIPSegForImageSegmentation

        return whole_model(CLIPSegForImageSegmentation, self._weights, "CLIPSeg").to(self._device)

    @functools.cached_property
    def _prepare(self) -> Any:
        from transformers import AutoImageProcessor

        try:
            return AutoImageProcessor.from_pretrained(self._preprocessor.parent, local_files_only=True)
        except Exception as error:  # of any kind, for a file that is damaged
            raise ScoreError(
                f"{self._preprocessor} describes no image processor ({str(error).splitlines()[0]:.200}); fetch it again"
            ) from None
