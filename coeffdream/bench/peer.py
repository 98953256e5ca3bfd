"""The shortest honest LoRA training and drawing with diffusers and PEFT alone: what ours is held against.

Written as diffusers' own DreamBooth script for SDXL does it, without its options: the same loss, the same draws of
noise and timestep from torch's generator, LoRA in float32 on a base of any precision, Adam, the loss read each step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def add_lora(unet: Any, rank: int, modules: list[str]) -> list[Any]:
    """PEFT's LoRA on these modules; the parameters to train, float32."""
    from diffusers.training_utils import cast_training_params
    from peft import LoraConfig

    unet.requires_grad_(False)
    unet.add_adapter(
        LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=modules)
    )
    cast_training_params(unet)
    return [parameter for parameter in unet.parameters() if parameter.requires_grad]


def train(
    unet: Any,
    parameters: list[Any],
    scheduler: Any,
    samples: list[Any],
    *,
    steps: int,
    batch_size: int,
    lr: float,
    after_step: Callable[[int], None],
) -> None:
    """DreamBooth on encoded samples (training.latent_cache.TrainingSample)."""
    import torch
    import torch.nn.functional as F
    from diffusers import DDPMScheduler

    noising = DDPMScheduler.from_config(scheduler.config)
    optimizer = torch.optim.Adam(parameters, lr=lr)
    device, dtype = unet.device, unet.dtype
    means = torch.stack([each.posterior.mean for each in samples]).to(device)
    stds = torch.stack([each.posterior.std for each in samples]).to(device)
    embeds = torch.stack([each.conditioning.embeds for each in samples])
    pooled = torch.stack([each.conditioning.pooled for each in samples])
    ids = torch.tensor([each.time_ids for each in samples], device=device, dtype=torch.float32)
    unet.train()
    for step in range(steps):
        chosen = [(step * batch_size + place) % len(samples) for place in range(batch_size)]
        latents = means[chosen] + stds[chosen] * torch.randn_like(means[chosen])
        noise = torch.randn_like(latents)
        timesteps = torch.randint(0, noising.config.num_train_timesteps, (batch_size,), device=device)
        noisy = noising.add_noise(latents, noise, timesteps).to(dtype)
        added = {"text_embeds": pooled[chosen], "time_ids": ids[chosen]}
        predicted = unet(
            noisy, timesteps, encoder_hidden_states=embeds[chosen], added_cond_kwargs=added
        ).sample
        epsilon = noising.config.prediction_type == "epsilon"
        target = noise if epsilon else noising.get_velocity(latents, noise, timesteps)
        loss = F.mse_loss(predicted.float(), target.float())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        loss.item()  # for the progress bar
        after_step(step + 1)


def draw(pipeline: Any, conditionings: list[Any], *, steps: int, guidance: float, size: int) -> Any:
    """One picture per conditioning (backbones.encode.Conditioning), by the pipeline alone; its VAE is in float32."""
    import torch

    pipeline.unet.eval()
    with torch.no_grad():
        latents = pipeline(
            prompt_embeds=torch.stack([each.embeds for each in conditionings]),
            pooled_prompt_embeds=torch.stack([each.pooled for each in conditionings]),
            negative_prompt_embeds=torch.stack([each.negative_embeds for each in conditionings]),
            negative_pooled_prompt_embeds=torch.stack([each.negative_pooled for each in conditionings]),
            height=size,
            width=size,
            num_inference_steps=steps,
            guidance_scale=guidance,
            output_type="latent",
        ).images
        vae = pipeline.vae
        pixels = [vae.decode(one[None].to(vae.dtype) / vae.config.scaling_factor).sample for one in latents]
        return pipeline.image_processor.postprocess(torch.cat(pixels))
