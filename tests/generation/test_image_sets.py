"""Any picture can be drawn again: alone, in batches of any size, with the adapter in memory or without one."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from coeffdream.backbones.base import find_base
from coeffdream.backbones.encode import encode_prompt
from coeffdream.backbones.load import load_components
from coeffdream.backbones.sampling import Sampling, draw
from coeffdream.data.concept import load_concept
from coeffdream.generation.base_run import base_run
from coeffdream.progress import silent
from coeffdream.training import run as training

SNOW, BEACH = "<V> cat in snow", "<V> cat on a beach"
# A batch may add up in another order than a single image: at most this many of 255 levels.
TOLERANCE = 1


def test_batch_size_changes_no_image(run_of, draw_set, pixels):
    """Sizes 1, 3 and 8 give the same eight pictures, within one level of 255."""
    run = run_of()
    expected = pixels(draw_set(run, SNOW, BEACH, batch_size=1, set_name="one"))
    assert len(expected) == 8
    assert all(np.abs(expected[0] - other).max() > 20 for other in expected[1:])
    for size in (3, 8):
        shutil.rmtree(run.images)
        drawn = pixels(draw_set(run, SNOW, BEACH, batch_size=size))
        assert np.abs(drawn - expected).max() <= TOLERANCE


def test_any_image_can_be_drawn_again_alone(run_of, draw_set):
    """A row of the manifest, its prompt and its seed, is all that an image is made of."""
    run = run_of()
    made = draw_set(run, SNOW, BEACH, images_per_prompt=2, seed=11, batch_size=1)
    for row in made.images:
        alone = draw_set(
            run, row.prompt, images_per_prompt=1, seed=row.seed, batch_size=1, set_name=f"again-{row.index}"
        )
        assert [image.sha256 for image in alone.images] == [row.sha256]


def test_training_and_generating_draw_the_same(tiny_base, photos, tmp_path, draw_set, pixels):
    """A saved and reloaded adapter gives the very pixels of the adapter in memory."""
    config = training.TrainConfig(
        concept=str(photos),
        base=str(tiny_base),
        resolution=32,
        steps=2,
        lr=0.05,
        sample_every=0,
        device="cpu",
        runs=str(tmp_path / "runs"),
    )
    base = find_base(str(tiny_base))
    session = training.Session.prepare(config, load_concept(photos), base, silent)
    run = training.RunFolder(tmp_path / "runs" / "fresh")
    training.execute(session, run, session.record("fresh", "training"))
    untrained = load_components(base, device=torch.device("cpu"), dtype=torch.float32)
    conditioning = encode_prompt(untrained, "sks cat in snow")
    sampling = Sampling(base.settings.sampling_steps, base.settings.guidance_scale, 32)
    [in_memory] = draw(session.components, [conditioning], [5], sampling)
    [of_the_base] = draw(untrained, [conditioning], [5], sampling)
    reloaded = pixels(draw_set(run, SNOW, images_per_prompt=1, seed=5))
    assert np.array_equal(reloaded[0], np.asarray(in_memory))
    assert not np.array_equal(reloaded[0], np.asarray(of_the_base))


@pytest.mark.parametrize("method", ["coeff-lora", "coeff-dora", "coeff", "lora", "dora"])
def test_without_the_adapter_it_is_the_base(method, run_of, draw_set, pixels, tiny_base, tmp_path):
    """--no-adapter, and both scales at 0, are the untouched base; scales of 1 are not."""
    run = run_of(method)
    # Not beside the run, where its pictures would be taken over and prove nothing.
    untouched, record = base_run(find_base(str(tiny_base)), "cat", "sks", tmp_path / "elsewhere")
    untouched.write(record)
    expected = pixels(draw_set(untouched, SNOW, images_per_prompt=2, no_adapter=True))
    none = pixels(draw_set(run, SNOW, images_per_prompt=2, no_adapter=True))
    off = pixels(draw_set(run, SNOW, images_per_prompt=2, lora_scale=0.0, alpha_scale=0.0))
    full = pixels(draw_set(run, SNOW, images_per_prompt=2))
    assert np.array_equal(none, expected)
    assert np.array_equal(off, expected)
    assert not np.array_equal(full, expected)


def test_each_scale_is_its_own(run_of, draw_set, pixels):
    """--lora-scale and --alpha-scale weaken different parts of a coeff-lora adapter."""
    run = run_of()
    drawn = [
        pixels(draw_set(run, SNOW, images_per_prompt=1, lora_scale=lora, alpha_scale=alpha))
        for lora, alpha in ((1.0, 1.0), (0.0, 1.0), (1.0, 0.0), (0.0, 0.0))
    ]
    for index, one in enumerate(drawn):
        assert not any(np.array_equal(one, other) for other in drawn[index + 1 :])


def test_base_run_is_found_again(tiny_base, tmp_path):
    """--no-adapter --base uses one folder per base, class and token, and never a trained run's."""
    base = find_base(str(tiny_base))
    first, record = base_run(base, "cat", "sks", tmp_path)
    assert not first.path.exists()
    first.write(record)
    assert first.read().status == "base"
    again, same = base_run(base, "cat", "sks", tmp_path)
    assert (again.path, same) == (first.path, record)
    other, named = base_run(base, "dog", "sks", tmp_path)
    assert other.path != first.path
    assert other.path.name == named.name
