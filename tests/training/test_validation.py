"""The validation loss: the same draws each time, of which the training never hears."""

from __future__ import annotations

import json

import pytest
import torch

from coeffdream.diffusion.objective import add_noise, target
from coeffdream.training.step import NoiseSchedule
from coeffdream.training.validation import DRAWS

LOSSES = ("validation_loss", "class_loss")


@pytest.fixture
def few_validation_draws() -> None:
    """Here all of them are drawn."""


def logged(run) -> dict[int, dict[str, float]]:
    """The validation losses of each step that has them."""
    rows = [json.loads(line) for line in run.log.read_text().splitlines()]
    return {row["step"]: {key: row[key] for key in LOSSES} for row in rows if LOSSES[0] in row}


def test_measured_at_every_checkpoint_and_of_the_untouched_base(options, learn):
    """A larger rate moves it away from what run.json says of the untouched base."""
    run = learn(options(steps=5, checkpoint_every=2, lr=0.02))
    untouched = run.read().validation
    assert (untouched.photos, untouched.held_out) == (["00.png", "01.png", "02.png"], False)
    measured = logged(run)
    assert sorted(measured) == [2, 4, 5]
    for key in LOSSES:
        values = [getattr(untouched, key), *(each[key] for each in measured.values())]
        assert len(set(values)) == 4


def test_the_training_never_hears_of_it(options, learn, outcome):
    """With a validation at every step and with one at the end: the same adapter and moments, bit for bit."""
    often = learn(options(steps=3, checkpoint_every=1, method="coeff-dora", coeff_dropout=0.5, lr=0.02))
    once = learn(options(steps=3, checkpoint_every=0, method="coeff-dora", coeff_dropout=0.5, lr=0.02))
    assert outcome(often)["tensors"] == outcome(once)["tensors"]
    assert logged(often)[3] == logged(once)[3]


@pytest.mark.parametrize("change", [{"seed": 5}, {"batch_size": 2}, {"method": "lora"}])
def test_runs_of_one_concept_measure_alike(change, options, session):
    """Neither seed nor batch nor method changes a draw: the untouched base has one value."""
    plain, changed = session(options()), session(options(**change))
    assert plain.untouched == changed.untouched


def test_it_is_the_mean_error_over_fixed_draws(options, session):
    """Against a definition written out: every photo in turn, timesteps evenly spread, no dropout."""
    ready = session(options(method="lora"))
    schedule, unet = NoiseSchedule.of(ready.components.scheduler), ready.components.unet
    draws = ready.validation.draws
    assert [each.timestep for each in draws[:3]] == [31, 93, 156]
    assert {each.sample.name for each in draws} == {"00.png", "01.png", "02.png"}
    errors = []
    for each in draws[:DRAWS]:
        noise = torch.randn(each.noisy.shape, generator=_generator(len(errors)))[None]
        at, latents = torch.tensor([each.timestep]), each.sample.posterior.mean[None]
        noisy = add_noise(latents, noise, at, schedule.alphas_cumprod)
        assert torch.equal(noisy[0], each.noisy)
        assert torch.equal(
            target(latents, noise, at, schedule.alphas_cumprod, schedule.prediction)[0], each.target
        )
        with torch.no_grad():
            said = unet(
                noisy,
                at,
                encoder_hidden_states=each.sample.conditioning.embeds[None],
                added_cond_kwargs={
                    "text_embeds": each.sample.conditioning.pooled[None],
                    "time_ids": torch.tensor([each.sample.time_ids], dtype=torch.float32),
                },
            ).sample
        errors.append((said - noise).square().mean())
    assert ready.untouched.validation_loss == pytest.approx(torch.stack(errors).mean().item(), rel=1e-5)


def _generator(number: int) -> torch.Generator:
    from coeffdream.diffusion.noise import generator_for

    return generator_for(0, "validation-noise", number)


def test_on_held_out_photos_where_there_are_some(options, session):
    """And run.json says so."""
    ready = session(options(holdout=1))
    held_out = [image.path.name for image in ready.concept.held_out]
    assert (ready.untouched.photos, ready.untouched.held_out) == (held_out, True)
    assert {each.sample.name for each in ready.validation.draws} == set(held_out)
