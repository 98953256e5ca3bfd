"""The loss of a step: min-SNR, noise offset, v-prediction, and the prior's part."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
import torch
from PIL import Image

from coeffdream.backbones.sampling import Sampling
from coeffdream.diffusion.noise import normal
from coeffdream.progress import silent
from coeffdream.training import prior
from coeffdream.training.loop import run_steps
from coeffdream.training.step import NoiseSchedule, draw_sample, losses

CPU = torch.device("cpu")


@pytest.fixture
def scheduled(session, options):
    """A prepared session, its photos and its noise schedule."""

    def made(**changes):
        ready = session(options(**changes))
        return ready, NoiseSchedule.of(ready.components.scheduler)

    return made


def test_loss_is_the_mean_squared_error_of_the_noise(scheduled):
    """The definition, written out with diffusers' own scheduler: UNet(noised latents) against the noise."""
    from diffusers import DDPMScheduler

    ready, schedule = scheduled()
    drawn = draw_sample(ready.data.photos, 0, schedule, ready.config, "photo")
    posterior = drawn.sample.posterior
    shape = tuple(posterior.mean.shape)
    latents = posterior.mean + posterior.std * normal(shape, 0, "photo-posterior", 0)
    noise = normal(shape, 0, "photo-noise", 0)
    scheduler = DDPMScheduler.from_config(ready.components.scheduler.config)
    timestep = torch.tensor([drawn.timestep])
    noisy = scheduler.add_noise(latents[None], noise[None], timestep)
    torch.testing.assert_close(drawn.noisy[None], noisy)
    assert torch.equal(drawn.target, noise)
    conditioning = drawn.sample.conditioning
    with torch.no_grad():
        predicted = ready.components.unet(
            noisy,
            timestep,
            encoder_hidden_states=conditioning.embeds[None],
            added_cond_kwargs={
                "text_embeds": conditioning.pooled[None],
                "time_ids": torch.tensor([drawn.sample.time_ids], dtype=torch.float32),
            },
        ).sample
        [loss] = losses(ready.components.unet, [drawn], CPU, torch.float32)
    torch.testing.assert_close(loss, (predicted - noise).square().mean())


def test_v_base_is_trained_with_v(scheduled, v_base):
    """A base that predicts v gets v targets, as diffusers defines them."""
    from diffusers import DDPMScheduler

    ready, schedule = scheduled(base=str(v_base))
    assert schedule.prediction == "v_prediction"
    drawn = draw_sample(ready.data.photos, 3, schedule, ready.config, "photo")
    posterior = drawn.sample.posterior
    shape = tuple(posterior.mean.shape)
    latents = posterior.mean + posterior.std * normal(shape, 0, "photo-posterior", 3)
    noise = normal(shape, 0, "photo-noise", 3)
    scheduler = DDPMScheduler.from_config(ready.components.scheduler.config)
    velocity = scheduler.get_velocity(latents[None], noise[None], torch.tensor([drawn.timestep]))
    torch.testing.assert_close(drawn.target[None], velocity)
    assert not torch.allclose(drawn.target, noise)


def test_min_snr_scales_the_loss(scheduled):
    """Every draw's loss is the plain one times min(snr, 5) / snr."""
    ready, schedule = scheduled()
    unet = ready.components.unet
    weighted = dataclasses.replace(ready.config, min_snr=5.0)
    capped = 0
    for position in range(6):
        plain = draw_sample(ready.data.photos, position, schedule, ready.config, "photo")
        other = draw_sample(ready.data.photos, position, schedule, weighted, "photo")
        abar = schedule.alphas_cumprod[plain.timestep]
        snr = abar / (1 - abar)
        with torch.no_grad():
            ratio = losses(unet, [other], CPU, torch.float32) / losses(unet, [plain], CPU, torch.float32)
        torch.testing.assert_close(ratio, (snr.clamp(max=5.0) / snr).float()[None], rtol=1e-5, atol=0)
        capped += int(snr > 5)
    assert 0 < capped < 6, "these draws must have timesteps on both sides of gamma"


def test_noise_offset_moves_each_channel(scheduled):
    """The offset noise is the plain noise plus one value per channel, of the asked size."""
    ready, schedule = scheduled()
    offset = dataclasses.replace(ready.config, noise_offset=0.1)
    plain = draw_sample(ready.data.photos, 0, schedule, ready.config, "photo")
    moved = draw_sample(ready.data.photos, 0, schedule, offset, "photo")
    difference = moved.target - plain.target
    torch.testing.assert_close(difference, difference[:, :1, :1].expand_as(difference), rtol=0, atol=1e-6)
    expected = 0.1 * normal((4, 1, 1), 0, "photo-noise-offset", 0)
    torch.testing.assert_close(difference[:, :1, :1], expected, rtol=0, atol=1e-6)
    abar = schedule.alphas_cumprod[plain.timestep]
    torch.testing.assert_close(
        moved.noisy - plain.noisy, (1 - abar).sqrt().float() * difference, rtol=0, atol=1e-6
    )


def test_gradient_checkpointing_changes_nothing(options, learn, outcome):
    """Recomputing the forward pass must see the same dropout mask and give the same run."""
    plain, thrifty = (
        outcome(learn(options(steps=3, coeff_dropout=0.5, gradient_checkpointing=wanted)))
        for wanted in (False, True)
    )
    assert thrifty == plain


def test_every_trained_parameter_moves_and_nothing_else(options, session):
    """A step changes every adapter parameter and not one weight of the base."""
    ready = session(options(steps=2, coeff_dropout=0.0))
    trained = {id(parameter) for parameter in ready.state.adapter.trainable.values()}
    unet = ready.components.unet
    frozen = {name: value.clone() for name, value in unet.named_parameters() if id(value) not in trained}
    before = {name: value.detach().clone() for name, value in ready.state.adapter.trainable.items()}
    _run(ready)
    now = dict(unet.named_parameters())
    assert all(torch.equal(now[name], value) for name, value in frozen.items())
    assert not [
        name for name, value in ready.state.adapter.trainable.items() if torch.equal(value, before[name])
    ]


def test_learning_rates_are_told_apart(options, session):
    """--coeff-lr is alpha's rate and no other's: Adam's first step moves a parameter by its rate."""
    ready = session(options(steps=1, coeff_lr=1e-2, lr=1e-4, coeff_dropout=0.0))
    adapter = ready.state.adapter
    lora = {name: value.detach().clone() for name, value in adapter.lora.items()}
    _run(ready)
    assert max(value.detach().abs().max() for value in adapter.alpha.values()) == pytest.approx(
        1e-2, rel=1e-2
    )
    moved = max((value.detach() - lora[name]).abs().max() for name, value in adapter.lora.items())
    assert moved == pytest.approx(1e-4, rel=1e-2)


class TestPriorPreservation:
    """Pictures of the class, drawn by the untouched base, are trained on beside the photos."""

    def test_drawn_once_then_cached(self, options, learn, monkeypatch, own_cache):
        """The second run with the same base and class draws nothing."""
        drawn = []
        original = prior.draw

        def counting(components, conditionings, seeds, sampling):
            drawn.extend(seeds)
            return original(components, conditionings, seeds, sampling)

        monkeypatch.setattr(prior, "draw", counting)
        config = options(steps=1, prior=True, prior_images=2)
        learn(config)
        assert drawn == [0, 1]
        learn(config)
        assert drawn == [0, 1]
        learn(dataclasses.replace(config, prior_images=3))
        assert drawn == [0, 1, 2]

    @pytest.mark.parametrize(
        "change",
        [
            {"sampling": {"size": 64}},
            {"sampling": {"steps": 3}},
            {"sampling": {"guidance_scale": 4.0}},
            {"prompt": "a photo of a dog"},
            {"components": {"architecture": "another"}},
            {"components": {"sketch": [0.0]}},
            {"unet": torch.bfloat16},
        ],
        ids=str,
    )
    def test_the_cache_is_told_apart_by_all_that_changes_a_picture(self, options, session, change):
        """A class image of another size, base or setting would be trained on without a word."""
        ready = session(options())
        components, prompt, sampling = ready.components, "a photo of a cat", Sampling(2, 3.0, 32)
        folder = prior.class_image_folder(components, prompt, sampling)
        assert prior.class_image_folder(components, prompt, Sampling(2, 3.0, 32)) == folder
        sampling = dataclasses.replace(sampling, **change.get("sampling", {}))
        components = dataclasses.replace(components, **change.get("components", {}))
        components.unet.to(change.get("unet", torch.float32))
        assert prior.class_image_folder(components, change.get("prompt", prompt), sampling) != folder

    @pytest.mark.parametrize("damage", ["empty", "cut", "text", "zeros", "pipe", "other size"])
    def test_a_damaged_one_is_drawn_again(self, damage, options, learn, monkeypatch, own_cache):
        """Everything in the cache can be made again, so a crash while it was written costs no training."""
        drawn = []
        original = prior.draw

        def counting(components, conditionings, seeds, sampling):
            drawn.extend(seeds)
            return original(components, conditionings, seeds, sampling)

        config = options(steps=1, prior=True, prior_images=2)
        learn(config)
        monkeypatch.setattr(prior, "draw", counting)
        [file] = (Path(os.environ["COEFFDREAM_CACHE"]) / "class-images").rglob("0000.png")
        good = file.read_bytes()
        if damage == "pipe":
            file.unlink()
            os.mkfifo(file)
        elif damage == "other size":
            Image.new("RGB", (64, 64)).save(file)
        else:
            file.write_bytes(
                {"empty": b"", "cut": good[:300], "text": b"hello", "zeros": bytes(4000)}[damage]
            )
        learn(config)
        assert drawn == [0]
        assert file.read_bytes() == good

    def test_log_shows_both_parts(self, options, learn):
        """The photos' loss is logged as without a prior, and the prior's beside it."""
        import json

        rows = {}
        for wanted in (False, True):
            run = learn(options(steps=1, prior=wanted, prior_images=2))
            rows[wanted] = json.loads(run.log.read_text())
        assert rows[True]["loss"] == pytest.approx(rows[False]["loss"], rel=1e-5)
        assert rows[True]["timesteps"] == rows[False]["timesteps"]
        assert rows[False]["prior_loss"] == 0
        assert rows[True]["prior_loss"] > 0

    def test_weight_scales_its_gradient(self, options, session):
        """gradient(w) = gradient of the photos + w x gradient of the class images."""
        gradients = {}
        for weight in (None, 1.0, 3.0):
            changes = {} if weight is None else {"prior": True, "prior_images": 2, "prior_weight": weight}
            ready = session(options(steps=1, coeff_dropout=0.0, **changes))
            _run(ready)
            gradients[weight] = torch.cat(
                [parameter.grad.flatten() for parameter in ready.state.adapter.trainable.values()]
            )
        of_the_prior = gradients[1.0] - gradients[None]
        assert of_the_prior.abs().max() > 1e-4
        torch.testing.assert_close(gradients[3.0], gradients[None] + 3 * of_the_prior, rtol=1e-3, atol=1e-6)


def _run(ready):
    log = Path(ready.config.runs) / "log.jsonl"
    schedule = NoiseSchedule.of(ready.components.scheduler)
    run_steps(
        ready.components.unet,
        ready.state,
        ready.data,
        schedule,
        ready.config,
        log,
        after_step=lambda _: None,
        progress=silent,
    )
