"""Everything the loop needs of the photos and prompts, computed once.

Each sample holds its own latents, size conditioning and caption, so no shuffling can pair one
photo's latents with another's caption. After this the text encoders are not needed again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from coeffdream.backbones.encode import Conditioning, LatentPosterior, encode_image, encode_prompt
from coeffdream.backbones.load import Components
from coeffdream.config import TrainConfig
from coeffdream.data.buckets import training_size
from coeffdream.data.images import resize_and_crop
from coeffdream.data.masks import check_shown
from coeffdream.data.photo import ConceptImage
from coeffdream.data.prompts import to_model_text
from coeffdream.errors import NonFiniteLossError
from coeffdream.progress import Progress
from coeffdream.records.fields import record_to_json
from coeffdream.training.encoded import TrainingSample, once


@dataclass(frozen=True)
class _Picture:
    """What is to be encoded: an image, cut to `size`, width and height, with its mask, if that is to be minded."""

    name: str
    image: Image.Image
    caption: str
    size: tuple[int, int]
    mask: Image.Image | None = None


def cache_concept(
    components: Components, photos: Sequence[ConceptImage], config: TrainConfig, progress: Progress
) -> list[TrainingSample]:
    """Encode photos of a concept, each with its caption, at the size and with the mask that `config` asks for.

    In a study they are encoded once, by the cell that comes first.
    """
    pictures = (
        _Picture(
            image.path.name,
            image.load(),
            to_model_text(image.caption, config.token),
            training_size(image.width, image.height, config.resolution, buckets=config.buckets),
            image.load_mask() if config.masked_loss else None,
        )
        for image in photos
    )
    whose = {
        "base": record_to_json(components.identity()),
        "precision": str(components.unet.dtype),
        "device": components.device.type,
        "photos": [[image.path.name, image.sha256, image.mask_sha256, image.caption] for image in photos],
        "settings": [config.token, config.resolution, config.buckets, config.masked_loss],
    }
    return once(whose, lambda: _encode(components, pictures, progress, "encoding photos", len(photos)))


def cache_class_images(
    components: Components, images: list[Image.Image], prompt: str, resolution: int, progress: Progress
) -> list[TrainingSample]:
    """Encode the class pictures of prior preservation, all under one prompt."""
    pictures = (
        _Picture(f"class image {index}", image, prompt, (resolution, resolution))
        for index, image in enumerate(images)
    )
    return _encode(components, pictures, progress, "encoding class images", len(images))


def _encode(
    components: Components,
    pictures: Iterable[_Picture],
    progress: Progress,
    stage: str,
    total: int,
) -> list[TrainingSample]:
    samples: list[TrainingSample] = []
    by_caption: dict[str, Conditioning] = {}
    for each in pictures:
        cropped, size = resize_and_crop(each.image, *each.size)
        if each.caption not in by_caption:
            by_caption[each.caption] = encode_prompt(components, each.caption)
        posterior = encode_image(components, cropped)
        if not (torch.isfinite(posterior.mean).all() and torch.isfinite(posterior.std).all()):
            raise NonFiniteLossError(
                f"the VAE turned {each.name} into values that are not numbers; use another VAE or base"
            )
        samples.append(
            TrainingSample(
                each.name,
                posterior,
                size.time_ids(),
                by_caption[each.caption],
                None if each.mask is None else _latent_mask(each, each.mask, posterior),
            )
        )
        progress(stage, len(samples), total, "")
    return samples


def _latent_mask(picture: _Picture, mask: Image.Image, posterior: LatentPosterior) -> Tensor:
    """A photo's mask, cut as the photo is, averaged over the pixels of each latent: [h, w] in [0, 1]."""
    cropped, _ = resize_and_crop(mask, *picture.size)
    check_shown(Path(picture.name), cropped)
    height, width = posterior.mean.shape[1:]
    shares = cropped.resize((width, height), Image.Resampling.BOX)
    return torch.from_numpy(np.asarray(shares, dtype=np.float32) / 255)


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
