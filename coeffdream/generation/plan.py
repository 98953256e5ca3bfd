"""Which images make up a set: one for each prompt and number, each with a seed of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence

from coeffdream.data.prompts import fill_class, to_model_text
from coeffdream.records.images import ImagePlan


def plan_images(
    templates: Sequence[str], *, class_noun: str, token: str, images_per_prompt: int, seed: int
) -> list[ImagePlan]:
    """Images in the order of the prompts; image number i of the set has seed `seed + i`."""
    planned: list[ImagePlan] = []
    for prompt_index, template in enumerate(templates):
        prompt = fill_class(template, class_noun)
        for image_index in range(images_per_prompt):
            index = len(planned)
            file = f"{prompt_index:02d}-{image_index}-{slug(prompt)}.png"
            text = to_model_text(prompt, token)
            planned.append(
                ImagePlan(index, prompt_index, image_index, template, prompt, text, seed + index, file)
            )
    return planned


def slug(prompt: str, longest: int = 48) -> str:
    """A prompt as a file name: "a <V> cat in the snow" -> "a-cat-in-the-snow"."""
    words = re.sub(r"[^a-z0-9]+", "-", prompt.replace("<V>", " ").lower()).strip("-")
    return words[:longest].rstrip("-") or "image"
