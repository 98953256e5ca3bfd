"""Pictures drawn while training, so that a person sees the concept arrive (or the model break)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from coeffdream.backbones.encode import Conditioning, encode_prompt
from coeffdream.backbones.halving import halving
from coeffdream.backbones.load import Components
from coeffdream.backbones.replay import replaying
from coeffdream.backbones.sampling import Sampling, draw
from coeffdream.data.images import of_one_color
from coeffdream.data.prompts import fill_class, to_model_text
from coeffdream.records.files import replacing

# One says whether the thing arrives, the other whether prompts still hold. They are looks, not results: with these steps
# a default run of SDXL spends a seventh of its passes of the UNet on them, and `generate --checkpoint` draws in full.
TEMPLATES = ("a photo of <V> CLASS", "a <V> CLASS in the snow")
MOST_STEPS = 8
SEED = 0


class Sampler:
    """Encodes the sample prompts while the text encoders are there; draws the same seeds each time.

    sampling: as the base recommends it, of whose steps at most MOST_STEPS are taken.
    """

    def __init__(self, components: Components, class_noun: str, token: str, sampling: Sampling) -> None:
        self._components = components
        self._sampling = replace(sampling, steps=min(sampling.steps, MOST_STEPS))
        # Few, as the base recommends: a training run leaves little memory.
        self._at_once = components.base.settings.sampling_batch_size
        texts = [to_model_text(fill_class(template, class_noun), token) for template in TEMPLATES]
        self._conditionings: list[Conditioning] = [encode_prompt(components, text) for text in texts]

    def _drawn(self, batch: Sequence[Conditioning]) -> list[Image.Image]:
        return draw(self._components, batch, [SEED] * len(batch), self._sampling)

    def _smaller(self, size: int) -> None:
        self._at_once = size

    def draw(self, file: Path) -> bool:
        """One row of pictures, one per prompt, as a PNG; whether one of them is of a single color."""
        images: list[Image.Image] = []
        with replaying(self._components):
            for _, drawn in halving(self._conditionings, self._at_once, self._drawn, self._smaller):
                images += drawn
        size = self._sampling.size
        row = Image.new("RGB", (size * len(images), size))
        for index, image in enumerate(images):
            row.paste(image, (index * size, 0))
        with replacing(file) as temporary:
            row.save(temporary, "PNG")
        return any(map(of_one_color, images))
