"""Prompts to embeddings, photos to latents.

Shape letters: L prompt tokens, E text width, P pooled width, C latent channels, h, w latent side.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from coeffdream.backbones.load import TEXT_ENCODERS, Components
from coeffdream.backbones.tiles import in_tiles
from coeffdream.errors import BaseModelError, PromptError


@dataclass(frozen=True)
class Conditioning:
    """What the UNet is told by a prompt, and by the negative prompt: embeds [L, E], pooled [P]."""

    embeds: Tensor
    pooled: Tensor
    negative_embeds: Tensor
    negative_pooled: Tensor

    @property
    def unconditional(self) -> Conditioning:
        """The negative prompt in the place of the prompt."""
        return Conditioning(
            self.negative_embeds, self.negative_pooled, self.negative_embeds, self.negative_pooled
        )


@dataclass(frozen=True)
class LatentPosterior:
    """The VAE's Gaussian for one photo, in the UNet's scale, float32 on the CPU: mean, std [C, h, w]."""

    mean: Tensor
    std: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        return self.mean + self.std * noise


def check_lengths(components: Components, texts: Iterable[str]) -> None:
    """Raises PromptError when a text encoder would silently cut one of `texts`."""
    waiting = iter(texts)
    while part := list(itertools.islice(waiting, 256)):  # twice as fast as one by one
        for tokenizer in (components.tokenizer, components.tokenizer_2):
            read = tokenizer(part, truncation=False, verbose=False).input_ids
            for text, count in zip(part, map(len, read), strict=True):
                if count > tokenizer.model_max_length:
                    raise PromptError(
                        f"the prompt {text!r} is {count} tokens long where the text encoders read "
                        f"{tokenizer.model_max_length} (start and end included); shorten it, for the rest would be ignored"
                    )


@torch.no_grad()
def encode_prompt(components: Components, text: str, negative: str = "") -> Conditioning:
    """Encode one prompt as diffusers' SDXL pipeline does. Raises PromptError when it is too long."""
    check_lengths(components, [text, negative])
    with components.at_work(*TEXT_ENCODERS):
        embeds, negative_embeds, pooled, negative_pooled = components.pipeline.encode_prompt(
            text,
            device=components.device,
            num_images_per_prompt=1,
            do_classifier_free_guidance=True,
            negative_prompt=negative or None,
        )
    return Conditioning(embeds[0], pooled[0], negative_embeds[0], negative_pooled[0])


@torch.no_grad()
def encode_image(components: Components, image: Image.Image) -> LatentPosterior:
    """Encode one RGB image, already cropped to the training resolution, with the float32 VAE."""
    pixels = torch.from_numpy(np.asarray(image, dtype=np.float32) / 127.5 - 1).permute(2, 0, 1)
    with components.at_work("vae"):
        posterior = components.vae.encode(pixels[None].to(components.device)).latent_dist
        shift, scale = _latent_scale(components.vae)
        return LatentPosterior(((posterior.mean - shift) * scale)[0].cpu(), (posterior.std * scale)[0].cpu())


@torch.no_grad()
def decode_latents(components: Components, latents: Tensor) -> list[Image.Image]:
    """Latents [B, C, h, w] to RGB images, one at a time, so that memory does not depend on B.

    Raises BaseModelError for latents that are not finite, which would decode to black.
    """
    if not torch.isfinite(latents).all():
        wider = "--precision bf16 or fp32, or " if latents.dtype == torch.float16 else ""
        raise BaseModelError(
            f"the UNet drew values that are not numbers in {latents.dtype}; use {wider}a lower --lora-scale or "
            "--alpha-scale"
        )
    vae, images = components.vae, []
    with components.at_work("vae"), in_tiles(vae, components.vae_tiling):
        shift, scale = _latent_scale(vae)
        for latent in latents.to(components.device, torch.float32):
            pixels = vae.decode((latent[None] / scale + shift), return_dict=False)[0][0]
            values = ((pixels.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
            images.append(Image.fromarray(values.permute(1, 2, 0).cpu().numpy()))
    return images


def _latent_scale(vae: Any) -> tuple[Tensor, Tensor]:
    """shift, scale [C, 1, 1] with model latents = (vae latents - shift) * scale."""
    config = vae.config
    factor = torch.tensor(config.scaling_factor, device=vae.device)
    if getattr(config, "latents_mean", None) is None or getattr(config, "latents_std", None) is None:
        return torch.zeros_like(factor), factor
    mean = torch.tensor(config.latents_mean, device=vae.device).view(-1, 1, 1)
    std = torch.tensor(config.latents_std, device=vae.device).view(-1, 1, 1)
    return mean, factor / std
