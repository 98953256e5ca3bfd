"""Aspect buckets and masked loss against their slow definitions: latents, size ids, masks and loss."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from PIL import Image

from coeffdream.backbones.encode import encode_image
from coeffdream.config import TrainConfig
from coeffdream.data.buckets import SDXL_SIZES
from coeffdream.data.concept import load_concept
from coeffdream.data.holdout import to_train_on
from coeffdream.data.images import load_image
from coeffdream.errors import ConceptError, ConfigError
from coeffdream.training import step
from coeffdream.training.step import NoiseSchedule, losses

CPU = torch.device("cpu")
SIDE = 32  # of the square that the buckets are as large as


@pytest.fixture
def masked_folder(cat_folder):
    """The three photos, of three shapes, each with a disc that is the thing."""
    rng = np.random.default_rng(4)
    for index, size in enumerate([(96, 80), (70, 120), (200, 70)]):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        coarse.resize(size, Image.Resampling.BICUBIC).save(cat_folder / f"{index:02d}.png")
        y, x = np.mgrid[: size[1], : size[0]]
        disc = np.hypot(x - size[0] / 2, y - size[1] / 2) < 0.3 * min(size)
        Image.fromarray((disc * 255).astype(np.uint8)).save(cat_folder / f"{index:02d}.mask.png")
    return cat_folder


@pytest.fixture
def made(masked_folder, session, options):
    """A session with buckets and masks, and the draws of its first steps."""
    session = session(options(resolution=SIDE, buckets=True, masked_loss=True, batch_size=3, min_snr=5.0))
    schedule = NoiseSchedule.of(session.components.scheduler)
    draws = [
        step.draw_sample(session.data.photos, position, schedule, session.config, "photo")
        for position in range(6)
    ]
    return session, draws


def _slow_crop(photo: Image.Image, resampling: Image.Resampling) -> tuple[Image.Image, tuple[int, ...]]:
    """Every size tried, the whole photo resized, the middle cut out."""
    best = None
    for wide, high in SDXL_SIZES:
        width, height = (max(8, 8 * round(side * SIDE / 1024 / 8)) for side in (wide, high))
        off = abs(math.log(width / height) - math.log(photo.width / photo.height))
        if best is None or off < best[0] - 1e-12:
            best = off, width, height
    _, width, height = best
    scale = max(width / photo.width, height / photo.height)
    whole = photo.resize((round(photo.width * scale), round(photo.height * scale)), resampling)
    left, top = (whole.width - width) // 2, (whole.height - height) // 2
    crop = whole.crop((left, top, left + width, top + height))
    return crop, (photo.height, photo.width, top, left, height, width)


def test_latents_and_size_ids(made, masked_folder):
    """Protects what SDXL is told: the size of the photo, where it was cut, and the size that it sees."""
    session, _ = made
    shapes = set()
    for sample in session.data.photos:
        crop, ids = _slow_crop(load_image(masked_folder / sample.name), Image.Resampling.LANCZOS)
        assert sample.time_ids == ids
        expected = encode_image(session.components, crop)
        # Resizing a box of the photo and cutting the resized photo differ by rounding to 8 bits.
        torch.testing.assert_close(sample.posterior.mean, expected.mean, atol=2e-2, rtol=0)
        shapes.add(tuple(sample.posterior.mean.shape))
    assert len(shapes) == 3


def test_masks_are_averages_over_latents(made, masked_folder):
    """A latent's weight is the share of its pixels that is the thing's."""
    session, _ = made
    for sample in session.data.photos:
        stem = sample.name.removesuffix(".png")
        mask, _ = _slow_crop(Image.open(masked_folder / f"{stem}.mask.png"), Image.Resampling.BOX)
        pixels = np.asarray(mask, dtype=np.float64) / 255
        assert sample.mask.shape == sample.posterior.mean.shape[1:]
        factor = pixels.shape[0] // sample.mask.shape[0]
        for y, x in np.ndindex(*sample.mask.shape):
            share = pixels[y * factor : (y + 1) * factor, x * factor : (x + 1) * factor].mean()
            assert abs(float(sample.mask[y, x]) - share) < 0.08  # a border that the box cuts otherwise
        assert 0 < sample.mask.mean() < 0.5


def test_the_loss_is_that_of_one_at_a_time(made):
    """A batch of several buckets: each photo's loss is its own, by a loop over every latent."""
    session, draws = made
    unet = session.components.unet
    unet.eval()
    found = losses(unet, draws, unet.device, unet.dtype)
    assert len({draw.noisy.shape for draw in draws}) == 3
    for draw, loss in zip(draws, found.tolist(), strict=True):
        embeds, added = step.stack([draw.sample], unet.device, unet.dtype)
        with torch.no_grad():
            predicted = unet(
                draw.noisy[None],
                torch.tensor([draw.timestep]),
                encoder_hidden_states=embeds,
                added_cond_kwargs=added,
            ).sample[0]
        total = weight = 0.0
        channels, height, width = predicted.shape
        for y in range(height):
            for x in range(width):
                for c in range(channels):
                    share = float(draw.sample.mask[y, x]) / channels
                    total += share * float(predicted[c, y, x] - draw.target[c, y, x]) ** 2
                    weight += share
        assert loss == pytest.approx(draw.weight * total / weight, rel=1e-4)


def _gradients(session, draws):
    session.state.adapter.set_masks(session.state.adapter.drawn_masks(0, 0))
    parameters = list(session.state.adapter.trainable.values())
    return torch.autograd.grad(
        losses(session.components.unet, draws, CPU, torch.float32).mean(), parameters, allow_unused=True
    )


def test_what_is_masked_out_moves_nothing(made):
    """Another target where the mask is 0 changes no gradient by a bit; one where it is not does."""
    session, draws = made
    before = _gradients(session, draws)
    assert any(gradient is not None and gradient.abs().sum() > 0 for gradient in before)

    def altered(inside: bool):
        where = [((draw.sample.mask > 0) if inside else (draw.sample.mask == 0)).float() for draw in draws]
        return [
            dataclasses.replace(draw, target=draw.target + 3 * at)
            for draw, at in zip(draws, where, strict=True)
        ]

    def equal(ours, theirs):
        return all(a is b or torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))

    assert equal(before, _gradients(session, altered(inside=False)))
    assert not equal(before, _gradients(session, altered(inside=True)))


def test_class_images_are_learned_whole(masked_folder, session, options):
    """The prior has no masks and is square: beside a masked photo its loss is the plain one."""
    made = session(options(masked_loss=True, prior=True, prior_images=2))
    schedule = NoiseSchedule.of(made.components.scheduler)
    photo, prior = (
        step.draw_sample(samples, 0, schedule, made.config, purpose)
        for samples, purpose in ((made.data.photos, "photo"), (made.data.class_images, "class"))
    )
    made.components.unet.eval()
    together, alone = (
        losses(made.components.unet, draws, CPU, torch.float32) for draws in ([photo, prior], [prior])
    )
    torch.testing.assert_close(together[1], alone[0])
    plain = dataclasses.replace(photo, sample=dataclasses.replace(photo.sample, mask=None))
    assert losses(made.components.unet, [plain], CPU, torch.float32)[0] != together[0]


def test_masks_for_some_photos_only(masked_folder, options):
    """Said before anything is loaded, with the photos that lack one; so is a folder without any."""
    for path in masked_folder.glob("*.mask.png"):
        path.unlink()
    with pytest.raises(ConceptError, match=r"no masks for 00\.png, 01\.png, 02\.png"):
        to_train_on(load_concept(masked_folder), TrainConfig(masked_loss=True))


def test_other_masks_are_another_run(masked_folder, options, learn, go_on):
    """A resumed run learns by the masks that it began with; without --masked-loss they are not looked at."""
    config = options(steps=1, buckets=True, masked_loss=True)
    run = learn(config)
    Image.new("L", (96, 80), 255).save(masked_folder / "00.mask.png")
    with pytest.raises(ConfigError, match=r"the masks in .* are not those the run began with"):
        go_on(run, dataclasses.replace(config, steps=2))
