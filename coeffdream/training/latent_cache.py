"""Everything the loop needs of the photos and prompts, computed once.

Each sample holds its own latents, size conditioning and caption, so no shuffling can pair one
photo's latents with another's caption. After this the text encoders are not needed again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from coeffdream.backbones.encode import Conditioning, LatentPosterior, encode_image, encode_prompt
from coeffdream.backbones.load import Components
from coeffdream.data.concept import ConceptImage
from coeffdream.data.images import resize_and_crop
from coeffdream.data.prompts import to_model_text
from coeffdream.errors import NonFiniteLossError
from coeffdream.progress import Progress


@dataclass(frozen=True)
class TrainingSample:
    """One photo as the UNet is trained on it. time_ids: SDXL's six size and crop numbers."""

    name: str
    posterior: LatentPosterior
    time_ids: tuple[int, ...]
    conditioning: Conditioning


def cache_concept(
    components: Components, photos: Sequence[ConceptImage], token: str, resolution: int, progress: Progress
) -> list[TrainingSample]:
    """Encode photos of a concept, each with its caption."""
    pictures = ((image.path.name, image.load(), to_model_text(image.caption, token)) for image in photos)
    return _encode(components, pictures, resolution, progress, "encoding photos", len(photos))


def cache_class_images(
    components: Components, images: list[Image.Image], prompt: str, resolution: int, progress: Progress
) -> list[TrainingSample]:
    """Encode the class pictures of prior preservation, all under one prompt."""
    pictures = ((f"class image {index}", image, prompt) for index, image in enumerate(images))
    return _encode(components, pictures, resolution, progress, "encoding class images", len(images))


def _encode(
    components: Components,
    pictures: Iterable[tuple[str, Image.Image, str]],
    resolution: int,
    progress: Progress,
    stage: str,
    total: int,
) -> list[TrainingSample]:
    samples: list[TrainingSample] = []
    by_caption: dict[str, Conditioning] = {}
    for name, image, caption in pictures:
        cropped, size = resize_and_crop(image, resolution)
        if caption not in by_caption:
            by_caption[caption] = encode_prompt(components, caption)
        posterior = encode_image(components, cropped)
        if not (torch.isfinite(posterior.mean).all() and torch.isfinite(posterior.std).all()):
            raise NonFiniteLossError(
                f"the VAE turned {name} into values that are not numbers; use another VAE or base"
            )
        samples.append(TrainingSample(name, posterior, size.time_ids(), by_caption[caption]))
        progress(stage, len(samples), total, "")
    return samples


def stack(
    samples: list[TrainingSample], device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, dict[str, Tensor]]:
    """Prompt embeddings [B, L, E] and the UNet's added conditions of a batch.

    The size ids stay float32, whatever `dtype`: bfloat16 would make 3008 of 3000.
    """
    embeds = torch.stack([sample.conditioning.embeds for sample in samples]).to(device, dtype)
    pooled = torch.stack([sample.conditioning.pooled for sample in samples]).to(device, dtype)
    time_ids = torch.tensor([sample.time_ids for sample in samples]).to(device, torch.float32)
    return embeds, {"text_embeds": pooled, "time_ids": time_ids}
