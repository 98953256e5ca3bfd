"""Drawing images with diffusers' own SDXL pipeline, one seed per image whatever the batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image

from coeffdream.backbones.encode import Conditioning, decode_latents
from coeffdream.backbones.load import Components
from coeffdream.diffusion.noise import generator_for, normal
from coeffdream.errors import ConfigError


@dataclass(frozen=True)
class Sampling:
    """How images are drawn: `size` is the side in pixels, `steps` the scheduler's."""

    steps: int
    guidance_scale: float
    size: int


@torch.no_grad()
def draw(
    components: Components,
    conditionings: Sequence[Conditioning],
    seeds: Sequence[int],
    sampling: Sampling,
) -> list[Image.Image]:
    """One image per conditioning and seed, as one batch. The noise of an image depends on its seed alone."""
    latents = initial_latents(components, seeds, sampling.size)
    components.unet.eval()

    with components.at_work("unet"):
        drawn = components.pipeline(
            prompt_embeds=torch.stack([each.embeds for each in conditionings]),
            pooled_prompt_embeds=torch.stack([each.pooled for each in conditionings]),
            negative_prompt_embeds=torch.stack([each.negative_embeds for each in conditionings]),
            negative_pooled_prompt_embeds=torch.stack([each.negative_pooled for each in conditionings]),
            latents=latents,
            # Only schedulers that add noise on the way draw from these.
            generator=[generator_for(seed, "scheduler-noise") for seed in seeds],
            height=sampling.size,
            width=sampling.size,
            num_inference_steps=sampling.steps,
            guidance_scale=sampling.guidance_scale,
            output_type="latent",
        ).images
    return decode_latents(components, drawn)


def initial_latents(components: Components, seeds: Sequence[int], size: int) -> torch.Tensor:
    """Standard normal latents [B, C, h, w], in the UNet's dtype. Raises ConfigError for an impossible size."""
    factor = components.pipeline.vae_scale_factor
    # Every level of the UNet but the last halves the latents, and must be able to.
    multiple = factor * 2 ** (len(components.unet.config.block_out_channels) - 1)
    if size < multiple or size % multiple:
        raise ConfigError(
            f"a size of {size} pixels does not fit this base; it must be a multiple of {multiple}"
        )
    shape = (components.unet.config.in_channels, size // factor, size // factor)
    latents = torch.stack([normal(shape, seed, "latents") for seed in seeds])
    return latents.to(components.device, components.unet.dtype)
