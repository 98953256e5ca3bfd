"""Which photo, timestep and noise a step sees depends on the seed alone."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
import torch

from coeffdream.training import loop, step
from coeffdream.training.batches import Batches
from coeffdream.training.step import NoiseSchedule


@pytest.fixture
def watched(monkeypatch, learn):
    """Train, and return every draw in order: (photo, timestep, noised latents, target)."""

    def seen(config):
        draws = []
        original = Batches.take

        def watching(self, number):
            taken = original(self, number)
            draws.extend(
                (
                    drawn.sample.name,
                    drawn.timestep,
                    drawn.noisy.numpy().tobytes(),
                    drawn.target.numpy().tobytes(),
                )
                for drawn in taken[0]
            )
            return taken

        with monkeypatch.context() as patch:
            patch.setattr(Batches, "take", watching)
            learn(config)
        return draws

    return seen


def test_batching_leaves_the_sequence(options, watched):
    """Batch size and accumulation only cut one and the same sequence into steps."""
    expected = watched(options(steps=4))
    assert len({noisy for _, _, noisy, _ in expected}) == 4
    assert watched(options(steps=1, batch_size=4)) == expected
    assert watched(options(steps=1, grad_accum=4)) == expected
    assert watched(options(steps=1, batch_size=2, grad_accum=2)) == expected


def test_methods_are_paired(options, watched):
    """Two methods with one seed see the same photos, timesteps and noise; another seed sees others."""
    expected = watched(options(steps=3, method="lora"))
    assert watched(options(steps=3, method="coeff-dora", rank=4)) == expected
    assert watched(options(steps=3, method="lora", seed=1)) != expected


def test_each_photo_once_an_epoch(options, watched):
    """No photo is neglected by chance: every three draws hold all three photos, in changing order."""
    names = [name for name, *_ in watched(options(steps=12, seed=2))]
    epochs = [tuple(names[first : first + 3]) for first in range(0, 12, 3)]
    assert all(len(set(epoch)) == 3 for epoch in epochs)
    assert len(set(epochs)) > 1


def test_photos_and_class_images_are_drawn_apart(options, watched):
    """With as many class images as photos, neither their order nor their timesteps and noise are the photos'."""
    draws = watched(options(steps=9, prior=True, prior_images=3))
    photos, class_images = draws[0::2], draws[1::2]
    assert {name for name, *_ in photos} == {"00.png", "01.png", "02.png"}
    assert {name for name, *_ in class_images} == {f"class image {index}" for index in range(3)}
    places = [[int(re.findall(r"\d+", name)[0]) for name, *_ in of] for of in (photos, class_images)]
    assert places[0] != places[1]
    for part in (1, 3):  # the timestep; the target, which is the noise
        assert not {draw[part] for draw in photos} & {draw[part] for draw in class_images}


def test_every_random_part_of_a_draw_has_a_purpose_of_its_own(options, session):
    """The same sample at the same position, as a photo and as a class image, has nothing random in common."""
    made = session(options(noise_offset=0.5))
    schedule = NoiseSchedule.of(made.components.scheduler)
    [sample, *_] = made.data.photos
    seen = {"posterior": [], "noise": [], "offset": []}
    for purpose in ("photo", "class"):
        drawn = step.draw_sample([sample], 0, schedule, made.config, purpose)
        plain = dataclasses.replace(made.config, noise_offset=0.0)
        noise = step.draw_sample([sample], 0, schedule, plain, purpose).target
        signal = schedule.alphas_cumprod[drawn.timestep].sqrt().float()
        sigma = (1 - schedule.alphas_cumprod[drawn.timestep]).sqrt().float()
        latents = (drawn.noisy - sigma * drawn.target) / signal
        seen["posterior"].append((latents - sample.posterior.mean) / sample.posterior.std)
        seen["noise"].append(noise)
        seen["offset"].append(drawn.target - noise)
    for photo, class_image in seen.values():
        assert (photo - class_image).abs().max() > 0.1


def test_accumulation_is_one_large_batch(options, session):
    """The gradient and the logged losses of two halves, accumulated, are those of the whole batch (float32 rounding)."""
    gradients, rows = [], []
    for how in ({"batch_size": 4}, {"batch_size": 2, "grad_accum": 2}):
        made = session(options(steps=1, prior=True, prior_images=2, **how))
        gradients.append(_gradients(made))
        rows.append(json.loads((Path(made.config.runs) / "log.jsonl").read_text()))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)
    for loss in ("loss", "prior_loss"):
        assert rows[0][loss] == pytest.approx(rows[1][loss], rel=1e-4) != 0


def _gradients(made):
    from coeffdream.progress import silent

    schedule = NoiseSchedule.of(made.components.scheduler)
    log = Path(made.config.runs) / "log.jsonl"
    loop.run_steps(
        made.components.unet,
        made.state,
        made.data,
        schedule,
        made.config,
        log,
        after_step=lambda _: None,
        progress=silent,
    )
    return [parameter.grad.clone() for parameter in made.state.adapter.trainable.values()]
