"""One seed, one image: whatever the batch, and the same one that diffusers draws.

Tolerance of all comparisons of pictures: one of 256 levels per pixel, since sums over a batch may be
taken in another order.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from coeffdream.backbones.base import find_base
from coeffdream.backbones.encode import encode_prompt
from coeffdream.backbones.load import load_components
from coeffdream.backbones.sampling import Sampling, draw, initial_latents
from coeffdream.errors import ConfigError

# diffusers' schedulers hand tensors to numpy in a way that NumPy 2 deprecates.

SAMPLING = Sampling(steps=3, guidance_scale=3.0, size=32)
PROMPTS = [f"a sks cat number {'i' * index}" for index in range(8)]
SEEDS = [2**63 - 1 - index for index in range(8)]
LEVELS = 1


def pixels(images: list[Image.Image]) -> np.ndarray:
    return np.stack([np.asarray(image, dtype=int) for image in images])


def assert_same(one: np.ndarray, other: np.ndarray) -> None:
    assert one.shape == other.shape
    assert np.abs(one - other).max() <= LEVELS


@pytest.fixture(scope="module")
def v_base(tmp_path_factory, tiny_base):
    """The miniature again, with a scheduler that takes its output for v."""
    import json
    import shutil

    folder = shutil.copytree(tiny_base, tmp_path_factory.mktemp("v") / "base")
    file = folder / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"prediction_type": "v_prediction"}))
    return folder


@pytest.fixture(scope="module")
def conditionings(components):
    return [encode_prompt(components, prompt) for prompt in PROMPTS]


@pytest.fixture(scope="module")
def alone(components, conditionings):
    """Each image drawn by itself."""
    return pixels(
        [
            draw(components, [conditioning], [seed], SAMPLING)[0]
            for conditioning, seed in zip(conditionings, SEEDS, strict=True)
        ]
    )


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_batch_size_changes_no_image(components, conditionings, alone, batch):
    """8 images in batches of 1, 3 (the last one short) and 8; drawn in another order, too."""
    order = [5, 2, 7, 0, 1, 6, 3, 4]
    for first in range(0, 8, batch):
        chosen = order[first : first + batch]
        images = draw(components, [conditionings[i] for i in chosen], [SEEDS[i] for i in chosen], SAMPLING)
        assert_same(pixels(images), alone[chosen])


def test_seed_and_prompt_both_matter(components, conditionings, alone):
    """The equality above would mean nothing if all images were alike."""
    other_seed = pixels(draw(components, [conditionings[0]], [SEEDS[1]], SAMPLING))[0]
    other_prompt = pixels(draw(components, [conditionings[1]], [SEEDS[0]], SAMPLING))[0]
    assert np.abs(other_seed - alone[0]).max() > 8 * LEVELS
    assert np.abs(other_prompt - alone[0]).max() > 0
    assert np.abs(alone[0] - alone[1]).max() > 8 * LEVELS


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("guidance", [3.0, 1.0])
def test_the_picture_is_diffusers_own(tiny_base, v_base, prediction, guidance):
    """The plain pipeline call on the same folder with the same latents, prompt to pixels."""
    from diffusers import StableDiffusionXLPipeline

    folder = tiny_base if prediction == "epsilon" else v_base
    components = load_components(find_base(str(folder)), device=torch.device("cpu"), dtype=torch.float32)
    assert components.scheduler.config.prediction_type == prediction
    sampling = Sampling(3, guidance, 32)
    ours = draw(components, [encode_prompt(components, PROMPTS[0], "blurry")], [7], sampling)

    pipeline = StableDiffusionXLPipeline.from_pretrained(folder, add_watermarker=False)
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(
        PROMPTS[0],
        negative_prompt="blurry",
        latents=initial_latents(components, [7], 32),
        height=32,
        width=32,
        num_inference_steps=3,
        guidance_scale=guidance,
    ).images
    assert_same(pixels(ours), pixels(theirs))


def test_the_prediction_type_matters(v_base, components, conditionings, alone):
    """A v base drawn as if it predicted noise would be wrong silently."""
    loaded = load_components(find_base(str(v_base)), device=torch.device("cpu"), dtype=torch.float32)
    assert (
        np.abs(pixels(draw(loaded, conditionings[:1], SEEDS[:1], SAMPLING))[0] - alone[0]).max() > 8 * LEVELS
    )


def test_schedulers_that_draw_noise_keep_to_the_seed(tiny_base, conditionings):
    """Ancestral samplers add noise on the way: each image's own."""
    from diffusers import EulerAncestralDiscreteScheduler

    loaded = load_components(find_base(str(tiny_base)), device=torch.device("cpu"), dtype=torch.float32)
    loaded.pipeline.scheduler = EulerAncestralDiscreteScheduler.from_config(loaded.scheduler.config)
    together = pixels(draw(loaded, conditionings[:3], SEEDS[:3], SAMPLING))
    for index in range(3):
        torch.manual_seed(index)
        one = pixels(draw(loaded, [conditionings[index]], [SEEDS[index]], SAMPLING))[0]
        assert_same(one, together[index])


def test_drawing_needs_no_text_encoders(tiny_base, conditionings, alone):
    """They have left memory by then."""
    loaded = load_components(find_base(str(tiny_base)), device=torch.device("cpu"), dtype=torch.float32)
    loaded.release_text_encoders()
    assert_same(pixels(draw(loaded, conditionings[:2], SEEDS[:2], SAMPLING)), alone[:2])


def test_latents_are_standard_normal_and_of_the_seed_alone(components):
    """[B, C, h, w]; the same seed at another place in the batch is the same noise."""
    latents = initial_latents(components, [3, 4], 32)
    assert latents.shape == (2, 4, 8, 8)
    assert torch.equal(initial_latents(components, [4], 32)[0], latents[1])
    many = initial_latents(components, range(200), 32)
    assert abs(many.mean()) < 0.05
    assert abs(many.std() - 1) < 0.05


@pytest.mark.parametrize("size", [0, 4, 12, 30, 36, -32])
def test_a_size_that_does_not_fit_is_refused(components, size):
    """The VAE halves twice and the UNet once here: multiples of 8."""
    with pytest.raises(ConfigError, match=f"a size of {size} pixels does not fit .* multiple of 8"):
        initial_latents(components, [0], size)
