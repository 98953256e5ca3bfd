"""VQAScore (arXiv 2404.01291) with BLIP through transformers: how sure a model is that a picture shows a text."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torchvision import transforms

from coeffdream.errors import ScoreError
from coeffdream.metrics.encoder import Features, versions
from coeffdream.metrics.weights import configuration, named_files, whole_model
from coeffdream.records.encoders import EncoderRecord
from coeffdream.records.files import sha256_of_file, sha256_of_json

if TYPE_CHECKING:
    from PIL.Image import Image

VQA_MODEL = "Salesforce/blip-vqa-base"
FLAG = "--vqa-model"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
QUESTION = 'Does this figure show "{text}"? Please answer yes or no.'  # as the paper asks it
ANSWER = "yes"
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class VqaEncoder:
    """A value is the probability of "yes" as the answer's first word.

    model: a hub id, or a transformers folder of a BlipForQuestionAnswering with config.json,
    model.safetensors, tokenizer.json and tokenizer_config.json.

    Raises ScoreError when they cannot be had, or the tokenizer has no single token for "yes".
    """

    def __init__(self, model: str | None = None, *, device: str = "cpu") -> None:
        model = model or VQA_MODEL
        config_file, self._weights, *_ = named_files(model, VQA_MODEL, FLAG, "BLIP for questions", TOKENIZER)
        self._config = configuration(config_file, "blip", "BLIP", FLAG, ("vision_config", "text_config"))
        self._device = torch.device(device)
        self._model_name = Path(model).resolve().name if Path(model).is_dir() else model
        self.name = f"BLIP {self._model_name}"
        self._side = self._config["vision_config"].get("image_size", 384)
        self._transform = transforms.Compose(
            [
                transforms.Resize((self._side, self._side), transforms.InterpolationMode.BICUBIC),
                transforms.ToTensor(),
                transforms.Normalize(CLIP_MEAN, CLIP_STD),
            ]
        )

    def describe(self) -> EncoderRecord:
        return EncoderRecord(
            name=self.name,
            model=self._model_name,
            pretrained=self._weights.name,
            weights_sha256=self._weights_sha256,
            config_sha256=sha256_of_json([self._config, QUESTION, ANSWER]),
            preprocessing={
                "size": self._side,
                "interpolation": "bicubic",
                "mean": list(CLIP_MEAN),
                "std": list(CLIP_STD),
            },
            feature=f"probability of {ANSWER!r} to: {QUESTION}",
            width=1,
            versions=versions("transformers", "torch", "torchvision", "pillow"),
        )

    def values(self, images: Sequence[Image], texts: Sequence[str]) -> Features:
        pixels = torch.stack([self._transform(image) for image in images]).to(self._device)
        asked = self._tokenizer(
            [QUESTION.format(text=text) for text in texts], padding=True, truncation=True, return_tensors="pt"
        ).to(self._device)
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            seen = self.model.vision_model(pixel_values=pixels).last_hidden_state
            question = self.model.text_encoder(
                input_ids=asked.input_ids,
                attention_mask=asked.attention_mask,
                encoder_hidden_states=seen,
            ).last_hidden_state
            start = torch.full((len(texts), 1), self.model.decoder_start_token_id, device=self._device)
            logits = self.model.text_decoder(
                input_ids=start,
                encoder_hidden_states=question,
                encoder_attention_mask=asked.attention_mask,
            ).logits[:, -1]
            return logits.float().softmax(dim=-1)[:, self._yes].cpu().numpy()

    @functools.cached_property
    def model(self) -> Any:
        """The transformers BlipForQuestionAnswering, in float32 and eval mode."""
        from transformers import BlipForQuestionAnswering

        return whole_model(BlipForQuestionAnswering, self._weights, "BLIP for questions").to(self._device)

    @functools.cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self._weights.parent, local_files_only=True)

    @functools.cached_property
    def _yes(self) -> int:
        tokens = self._tokenizer(ANSWER, add_special_tokens=False).input_ids
        if len(tokens) != 1 or tokens[0] == self._tokenizer.unk_token_id:
            raise ScoreError(
                f"{self._weights.parent} has no single token for {ANSWER!r}; give another {FLAG}"
            )
        return int(tokens[0])

    @functools.cached_property
    def _weights_sha256(self) -> str:
        return sha256_of_file(self._weights)
