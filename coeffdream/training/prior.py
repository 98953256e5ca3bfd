"""Class images for prior preservation (DreamBooth, arXiv 2208.12242, section 3.2): drawn once, then cached."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from coeffdream.backbones.encode import encode_prompt
from coeffdream.backbones.load import Components
from coeffdream.backbones.replay import replaying
from coeffdream.backbones.sampling import Sampling, draw
from coeffdream.data.images import load_image
from coeffdream.errors import ConceptError
from coeffdream.progress import Progress
from coeffdream.records.environment import cache_folder
from coeffdream.records.files import replacing, sha256_of_json


def class_images(
    components: Components, prompt: str, count: int, sampling: Sampling, progress: Progress
) -> list[Image.Image]:
    """`count` pictures of `prompt` by the untouched base; those already cached are read, the others drawn.

    Call it before an adapter is installed.
    """
    folder = class_image_folder(components, prompt, sampling)
    conditioning = encode_prompt(components, prompt)
    images = []
    with replaying(components):
        for seed in range(count):
            file = folder / f"{seed:04d}.png"
            image = _cached(file, sampling.size)
            if image is None:
                [image] = draw(components, [conditioning], [seed], sampling)
                with replacing(file) as temporary:
                    image.save(temporary, "PNG")
            images.append(image)
            progress("drawing class images", seed + 1, count, "")
    return images


def _cached(file: Path, size: int) -> Image.Image | None:
    """A cached picture; None when it is not there, damaged, or not of `size` pixels a side."""
    try:
        image = load_image(file)
    except ConceptError:
        return None
    return image if image.size == (size, size) else None


def class_image_folder(components: Components, prompt: str, sampling: Sampling) -> Path:
    """Where they are cached: a folder per base, prompt and sampling settings."""
    key = {
        "architecture": components.architecture,
        "sketch": components.sketch,
        "precision": str(components.unet.dtype),
        "prompt": prompt,
        "steps": sampling.steps,
        "guidance_scale": sampling.guidance_scale,
        "size": sampling.size,
    }
    if components.base.prediction != "auto":
        key["prediction"] = components.base.prediction
    return cache_folder() / "class-images" / sha256_of_json(key)[:24]
