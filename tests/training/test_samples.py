"""The pictures drawn while training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from coeffdream.backbones.encode import encode_prompt
from coeffdream.backbones.load import load_components
from coeffdream.backbones.sampling import Sampling, draw
from coeffdream.training import samples


@pytest.fixture
def drawn(options, session, tmp_path):
    """A row of samples and the session that drew it."""
    ready = session(options(sample_every=1))
    ready.sampler.draw(tmp_path / "row.png")
    with Image.open(tmp_path / "row.png") as image:
        return ready, np.array(image)


def test_one_picture_a_prompt_side_by_side(drawn):
    """The row is what the base draws for each prompt with the identifier in it, all with one seed, in few steps."""
    ready, row = drawn
    # The session has let its text encoders go.
    whole = load_components(ready.components.base, device=torch.device("cpu"), dtype=torch.float32)
    settings = whole.base.settings
    sampling = Sampling(min(8, settings.sampling_steps), settings.guidance_scale, 32)
    texts = ["a photo of sks cat", "a sks cat in the snow"]
    pictures = [draw(whole, [encode_prompt(whole, text)], [samples.SEED], sampling)[0] for text in texts]
    assert row.shape == (32, 2 * 32, 3)
    for index, picture in enumerate(pictures):
        part = row[:, 32 * index : 32 * (index + 1)].astype(int)
        assert np.abs(part - np.array(picture).astype(int)).max() <= 1


def test_the_same_seeds_each_time(drawn, tmp_path):
    """What changes from row to row is what was learned and nothing else."""
    ready, row = drawn
    ready.sampler.draw(tmp_path / "again.png")
    with Image.open(tmp_path / "again.png") as image:
        assert np.array_equal(np.array(image), row)


def test_few_at_a_time(options, session, monkeypatch, tmp_path):
    """No more pictures at once than the base recommends: a training run leaves little memory."""
    ready = session(options(sample_every=1))
    asked = []
    plain = samples.draw

    def watching(components, conditionings, seeds, sampling):
        asked.append(len(conditionings))
        return plain(components, conditionings, seeds, sampling)

    monkeypatch.setattr(samples, "draw", watching)
    assert ready.sampler._at_once == ready.components.base.settings.sampling_batch_size
    ready.sampler._at_once = 1
    ready.sampler.draw(tmp_path / "row.png")
    assert asked == [1, 1]


def test_rows_are_drawn_when_asked(options, learn):
    """Before the first step, every N steps, and after the last."""
    run = learn(options(steps=5, sample_every=2))
    assert [path.name for path in sorted(run.samples.iterdir())] == [
        f"step_{step:06d}.png" for step in (0, 2, 4, 5)
    ]


def test_fewer_at_a_time_when_the_memory_does_not_suffice(options, session, tmp_path, monkeypatch):
    """A row of samples is no reason to end a training; the size that fits is kept for the next row."""
    ready = session(options(sample_every=1))
    original, asked = samples.draw, []

    def small(components, batch, seeds, sampling):
        asked.append(len(seeds))
        if len(seeds) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(components, batch, seeds, sampling)

    monkeypatch.setattr(samples, "draw", small)
    ready.sampler._at_once = 2
    ready.sampler.draw(tmp_path / "one.png")
    assert asked == [2, 1, 1]
    ready.sampler.draw(tmp_path / "two.png")
    assert asked[3:] == [1, 1]
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
