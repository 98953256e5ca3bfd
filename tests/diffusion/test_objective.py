"""The denoising objective against diffusers' own scheduler, and Min-SNR against the paper's formula."""

from __future__ import annotations

import pytest
import torch

from coeffdream.diffusion.objective import PREDICTIONS, add_noise, min_snr_weight, squared_error, target
from coeffdream.errors import BaseModelError

GAMMA = 5.0
TIMESTEPS = torch.tensor([0, 1, 250, 998, 999])


@pytest.fixture(params=[False, True], ids=["sdxl", "zero terminal SNR"])
def scheduler(request):
    """SDXL's schedule, and the same rescaled so that the last step is pure noise."""
    from diffusers import DDPMScheduler

    return DDPMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        rescale_betas_zero_snr=request.param,
    )


@pytest.fixture
def latents_and_noise():
    generator = torch.Generator().manual_seed(0)
    shape = (len(TIMESTEPS), 4, 8, 6)
    return torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)


def test_noising_is_that_of_diffusers(scheduler, latents_and_noise):
    """sqrt(abar) x0 + sqrt(1 - abar) eps for every timestep of the batch."""
    latents, noise = latents_and_noise
    ours = add_noise(latents, noise, TIMESTEPS, scheduler.alphas_cumprod.double())
    torch.testing.assert_close(ours, scheduler.add_noise(latents, noise, TIMESTEPS), rtol=0, atol=1e-6)


def test_velocity_is_that_of_diffusers(scheduler, latents_and_noise):
    """v = sqrt(abar) eps - sqrt(1 - abar) x0, what v_prediction bases learn."""
    latents, noise = latents_and_noise
    ours = target(latents, noise, TIMESTEPS, scheduler.alphas_cumprod.double(), "v_prediction")
    torch.testing.assert_close(ours, scheduler.get_velocity(latents, noise, TIMESTEPS), rtol=0, atol=1e-6)


def test_the_other_targets_are_the_noise_and_the_latents(scheduler, latents_and_noise):
    """epsilon and sample bases."""
    latents, noise = latents_and_noise
    schedule = scheduler.alphas_cumprod
    assert torch.equal(target(latents, noise, TIMESTEPS, schedule, "epsilon"), noise)
    assert torch.equal(target(latents, noise, TIMESTEPS, schedule, "sample"), latents)


def test_an_unknown_prediction_is_refused(scheduler, latents_and_noise):
    """A flow model's scheduler, say, must not be trained as if it predicted noise."""
    with pytest.raises(BaseModelError, match="predicts 'flow'; coeffdream trains epsilon"):
        target(*latents_and_noise, TIMESTEPS, scheduler.alphas_cumprod, "flow")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_latents_keep_their_dtype(scheduler, latents_and_noise, dtype):
    """Noising in half precision must not become float64 by way of the schedule."""
    latents, noise = (each.to(dtype) for each in latents_and_noise)
    schedule = scheduler.alphas_cumprod.double()
    assert add_noise(latents, noise, TIMESTEPS, schedule).dtype == dtype
    assert target(latents, noise, TIMESTEPS, schedule, "v_prediction").dtype == dtype


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_min_snr_is_the_papers_weight(scheduler, prediction):
    """arXiv 2303.09556: min(snr, g) on x0, divided by snr for eps and by snr + 1 for v."""
    timesteps = torch.arange(0, 999)  # all with snr > 0
    abar = scheduler.alphas_cumprod.double()[timesteps]
    snr = abar / (1 - abar)
    capped = snr.clamp(max=GAMMA)
    wanted = {"sample": capped, "epsilon": capped / snr, "v_prediction": capped / (snr + 1)}[prediction]
    ours = min_snr_weight(timesteps, scheduler.alphas_cumprod, GAMMA, prediction)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, wanted.float(), rtol=1e-5, atol=0)
    assert snr.max() > GAMMA > snr.min()  # both branches of the minimum were met


@pytest.mark.parametrize(("prediction", "limit"), [("epsilon", 1.0), ("v_prediction", 0.0), ("sample", 0.0)])
@pytest.mark.parametrize("abar", [0.0, 1e-30, 1.0])
def test_min_snr_is_finite_at_both_ends(prediction, limit, abar):
    """snr is 0 at the last step of a zero-terminal-SNR schedule, infinite for a noiseless one."""
    weight = min_snr_weight(torch.tensor([0]), torch.tensor([abar]), GAMMA, prediction)
    assert torch.isfinite(weight).all()
    if abar < 1:
        assert weight.item() == pytest.approx(limit, abs=1e-6)


def test_squared_error_is_per_sample_and_float32():
    """A bfloat16 sum over thousands of latents would lose the loss's digits."""
    prediction = torch.full((2, 4, 64, 64), 1.0, dtype=torch.bfloat16)
    wanted = torch.stack([torch.zeros(4, 64, 64), torch.full((4, 64, 64), 3.0)])
    error = squared_error(prediction, wanted)
    assert error.dtype == torch.float32
    assert error.tolist() == [1.0, 4.0]


def test_weights_choose_the_pixels_that_count():
    """Of each sample apart, over all its channels; a weight of any size is a share of the sum of weights."""
    prediction, wanted = torch.zeros(2, 4, 2, 3), torch.zeros(2, 4, 2, 3)
    wanted[0, :, 0, 1], wanted[0, :, 1, 2] = torch.tensor([1.0, 2, 3, 4]), 7.0
    wanted[1, :, 1, 0] = 2.0
    weights = torch.zeros(2, 2, 3)
    weights[0, 0, 1], weights[1, 1, 0], weights[1, 0, 0] = 0.5, 3.0, 1.0
    assert squared_error(prediction, wanted, weights).tolist() == [(1 + 4 + 9 + 16) / 4, 3 / 4 * 4]


def test_a_perfect_prediction_has_no_loss(scheduler, latents_and_noise):
    """eps can be had back from the noised latents: noising and target fit together."""
    latents, noise = latents_and_noise
    schedule = scheduler.alphas_cumprod.double()
    abar = schedule[TIMESTEPS].float().view(-1, 1, 1, 1)
    noisy = add_noise(latents, noise, TIMESTEPS, schedule)
    recovered = (noisy - abar.sqrt() * latents) / (1 - abar).sqrt()
    assert squared_error(recovered, target(latents, noise, TIMESTEPS, schedule, "epsilon")).max() < 1e-8
