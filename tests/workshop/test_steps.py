"""How few steps the shipped base is drawn with: as good as many, or the recommendation is wrong."""

from __future__ import annotations

import numpy as np
import pytest
from diffusers import StableDiffusionXLPipeline
from PIL import Image

from coeffdream.backbones.base import read_settings
from coeffdream.toybox.paths import WEIGHTS
from coeffdream.workshop.build.steps import REFERENCE, drawn, embedded, nearness


@pytest.fixture(scope="module")
def encoders():
    return embedded()


def test_nearness_of_known_pictures(encoders):
    """Equal pictures are at distance nothing; a known step in brightness is a PSNR that can be worked out."""
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 200, (64, 64, 3), dtype=np.uint8))
    brighter = Image.fromarray(np.asarray(picture) + np.uint8(51))
    dino, clip, decibels = nearness(encoders, [picture], [picture])
    assert np.allclose((dino, clip), 1, atol=1e-5)
    assert decibels == np.inf
    assert np.isclose(nearness(encoders, [picture], [brighter])[2], -20 * np.log10(51 / 255))


def test_the_recommended_steps_suffice(encoders):
    """The base's own scheduler at its recommended steps ends where a hundred steps of DDIM do; as few of DDIM's do not."""
    pipeline = StableDiffusionXLPipeline.from_pretrained(WEIGHTS)
    pipeline.set_progress_bar_config(disable=True)
    own, steps = type(pipeline.scheduler).__name__, read_settings(WEIGHTS).sampling_steps
    captions = ["a cat in the snow", "a robot wearing a hat"]
    reference = drawn(pipeline, *REFERENCE, captions)
    near = nearness(encoders, drawn(pipeline, own, steps, captions), reference)
    ddim = nearness(encoders, drawn(pipeline, "DDIMScheduler", steps, captions), reference)
    assert min(near[:2]) > 0.995
    assert all(mine > other for mine, other in zip(near, ddim, strict=True)), (near, ddim)
