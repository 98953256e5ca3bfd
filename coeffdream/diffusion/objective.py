"""The denoising objective: noising, the target, and the weight of each timestep.

Shapes: latents [B, C, h, w], timesteps [B], alphas_cumprod [T] (alpha-bar of DDPM, arXiv 2006.11239).
"""

from __future__ import annotations

import torch
from torch import Tensor

from coeffdream.errors import BaseModelError

PREDICTIONS = ("epsilon", "v_prediction", "sample")


def add_noise(latents: Tensor, noise: Tensor, timesteps: Tensor, alphas_cumprod: Tensor) -> Tensor:
    """sqrt(abar) x0 + sqrt(1 - abar) eps, in the latents' dtype."""
    signal, sigma = _signal_and_sigma(timesteps, alphas_cumprod, latents)
    return signal * latents + sigma * noise


def target(
    latents: Tensor, noise: Tensor, timesteps: Tensor, alphas_cumprod: Tensor, prediction: str
) -> Tensor:
    """What the UNet should predict: eps, v = sqrt(abar) eps - sqrt(1 - abar) x0 (arXiv 2202.00512), or x0."""
    if prediction == "epsilon":
        return noise
    if prediction == "v_prediction":
        signal, sigma = _signal_and_sigma(timesteps, alphas_cumprod, latents)
        return signal * noise - sigma * latents
    if prediction == "sample":
        return latents
    raise BaseModelError(
        f"the base's scheduler predicts {prediction!r}; coeffdream trains {', '.join(PREDICTIONS)} models"
    )


def min_snr_weight(timesteps: Tensor, alphas_cumprod: Tensor, gamma: float, prediction: str) -> Tensor:
    """Weights [B] that cap the signal-to-noise ratio at gamma (Min-SNR, arXiv 2303.09556).

    min(snr, gamma) is the weight of an x0 loss; an eps loss carries 1/snr already, a v loss 1/(snr + 1).
    """
    abar = alphas_cumprod[timesteps].double()
    if prediction == "epsilon":
        # min(snr, gamma) / snr, written so that snr = 0 (zero terminal SNR) gives 1
        return torch.clamp(gamma * (1 - abar) / abar.clamp_min(1e-12), max=1.0).float()
    snr = abar / (1 - abar).clamp_min(1e-12)
    weight = snr.clamp(max=gamma)
    return (weight / (snr + 1) if prediction == "v_prediction" else weight).float()


def squared_error(prediction: Tensor, wanted: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean squared error of each sample, [B], in float32; with weights [B, h, w] the mean that they weigh."""
    errors = (prediction.float() - wanted.float()).square()
    if weights is None:
        return errors.flatten(1).mean(1)
    return (errors.mean(1) * weights).flatten(1).sum(1) / weights.flatten(1).sum(1)


def _signal_and_sigma(timesteps: Tensor, alphas_cumprod: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    abar = alphas_cumprod.to(like.device)[timesteps].double().view(-1, *[1] * (like.ndim - 1))
    return abar.sqrt().to(like.dtype), (1 - abar).sqrt().to(like.dtype)
