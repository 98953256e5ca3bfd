"""One forward pass of DreamBooth training (arXiv 2208.12242) and its loss.

Shapes: latents [B, C, h, w]; every draw belongs to the sample's position in the whole run, so that
batch size and accumulation leave the sequence of (photo, timestep, noise) as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from coeffdream.config import TrainConfig
from coeffdream.diffusion.noise import integer, normal, permuted, uniform
from coeffdream.diffusion.objective import add_noise, min_snr_weight, squared_error, target
from coeffdream.training.encoded import TrainingSample
from coeffdream.training.latent_cache import stack


@dataclass(frozen=True)
class NoiseSchedule:
    """The base's own noise schedule: alphas_cumprod [T] on the CPU, and what its UNet predicts."""

    alphas_cumprod: Tensor
    prediction: str

    @classmethod
    def of(cls, scheduler: Any) -> NoiseSchedule:
        """Read it from any diffusers scheduler's config, as DDPM trains with it (zero terminal SNR included)."""
        from diffusers import DDPMScheduler

        training = DDPMScheduler.from_config(scheduler.config)
        return cls(training.alphas_cumprod.double(), training.config.prediction_type)


@dataclass(frozen=True)
class Draw:
    """The random part of one training sample: noised latents and target [C, h, w], timestep, its weight."""

    sample: TrainingSample
    timestep: int
    noisy: Tensor
    target: Tensor
    weight: float


def draw_sample(
    samples: list[TrainingSample], position: int, schedule: NoiseSchedule, config: TrainConfig, purpose: str
) -> Draw:
    """Sample number `position` of the run: which photo, which timestep, which noise."""
    seed = config.seed
    sample = samples[permuted(len(samples), position, seed, f"{purpose}-order")]
    shape = tuple(sample.posterior.mean.shape)
    timestep = torch.tensor([integer(len(schedule.alphas_cumprod), seed, f"{purpose}-timestep", position)])
    latents = sample.posterior.sample(normal(shape, seed, f"{purpose}-posterior", position))[None]
    noise = normal(shape, seed, f"{purpose}-noise", position)[None]
    if config.noise_offset:
        offset = normal((shape[0], 1, 1), seed, f"{purpose}-noise-offset", position)
        noise = noise + config.noise_offset * offset
    # The empty caption is what guidance takes for it: zeros in SDXL, which was trained so.
    if uniform(seed, f"{purpose}-caption", position) < config.caption_dropout:
        sample = replace(sample, conditioning=sample.conditioning.unconditional)
    weight = torch.ones(1)
    if config.min_snr is not None:
        weight = min_snr_weight(timestep, schedule.alphas_cumprod, config.min_snr, schedule.prediction)
    return Draw(
        sample,
        int(timestep),
        add_noise(latents, noise, timestep, schedule.alphas_cumprod)[0],
        target(latents, noise, timestep, schedule.alphas_cumprod, schedule.prediction)[0],
        float(weight),
    )


def losses(unet: Any, draws: list[Draw], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Weighted squared error of each draw, [B], float32; one forward pass of the UNet for each size among them.

    device, dtype: the UNet's. diffusers looks through every module for them, so a loop asks once.
    """
    found: dict[int, Tensor] = {}
    for places in alike(draws):
        batch = as_tensors([draws[place] for place in places], device, dtype)
        found |= zip(places, losses_of(unet, batch), strict=True)
    return torch.stack([found[place] for place in range(len(draws))])


def alike(draws: list[Draw]) -> list[list[int]]:
    """The places of draws of one size, for each size among them."""
    places: dict[torch.Size, list[int]] = {}
    for place, each in enumerate(draws):
        places.setdefault(each.noisy.shape, []).append(place)
    return list(places.values())


def as_tensors(draws: list[Draw], device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
    """Draws of one size as what `losses_of` takes; without masks where none has one."""
    embeds, added = stack([each.sample for each in draws], device, dtype)
    batch = {
        "noisy": torch.stack([each.noisy for each in draws]).to(device, dtype),
        "timesteps": torch.tensor([each.timestep for each in draws], device=device),
        "embeds": embeds,
        **added,
        "wanted": torch.stack([each.target for each in draws]).to(device),
        "weights": torch.tensor([each.weight for each in draws], device=device),
    }
    if any(each.sample.mask is not None for each in draws):
        whole = torch.ones(draws[0].noisy.shape[1:])
        masks = [whole if each.sample.mask is None else each.sample.mask for each in draws]
        batch["masks"] = torch.stack(masks).to(device)
    return batch


def losses_of(unet: Any, batch: Mapping[str, Tensor]) -> Tensor:
    """Weighted squared error of each sample of one forward pass, [B], float32. batch: of `as_tensors`."""
    predicted = predicted_of(unet, batch)
    return squared_error(predicted, batch["wanted"], batch.get("masks")) * batch["weights"]


def predicted_of(unet: Any, batch: Mapping[str, Tensor]) -> Tensor:
    """What the UNet says to a batch of `as_tensors`, [B, C, h, w]."""
    added = {name: batch[name] for name in ("text_embeds", "time_ids")}
    predicted: Tensor = unet(
        batch["noisy"],
        batch["timesteps"],
        encoder_hidden_states=batch["embeds"],
        added_cond_kwargs=added,
    ).sample
    return predicted
