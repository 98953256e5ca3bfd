"""`generate --checkpoint`: what was learned by an earlier step, in a set of its own that says so."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from coeffdream.adapters.files import adapter_hashes
from coeffdream.errors import ConfigError, RunError
from coeffdream.generation.request import GenerateRequest
from coeffdream.records.checkpoints import checkpoint_folder
from coeffdream.records.commands import generate_command
from coeffdream.records.images import find_set
from coeffdream.records.run import LORA_FILE
from coeffdream.training import run as training

SNOW = "<V> cat in snow"


@pytest.fixture
def run(tiny_base, cat_folder, tmp_path):
    """Three steps at a visible rate, each with its checkpoint."""
    from coeffdream.backbones.base import find_base
    from coeffdream.data.concept import load_concept
    from coeffdream.progress import silent

    config = training.TrainConfig(
        concept=str(cat_folder),
        base=str(tiny_base),
        resolution=32,
        steps=3,
        lr=0.05,
        sample_every=0,
        checkpoint_every=1,
        device="cpu",
        runs=str(tmp_path / "runs"),
    )
    return training.train(config, load_concept(cat_folder), find_base(str(tiny_base)), silent)[0]


def test_an_earlier_step_draws_otherwise_and_says_so(run, draw_set, pixels):
    """Its set lies under its own name, records step and files, and never stands for the run."""
    earlier = draw_set(run, SNOW, images_per_prompt=1, checkpoint=1)
    finished = draw_set(run, SNOW, images_per_prompt=1)
    last = draw_set(run, SNOW, images_per_prompt=1, checkpoint=3)
    assert [each.folder.path.name for each in (earlier, finished, last)] == [
        "cat-in-snow-step-1",
        "cat-in-snow",
        "cat-in-snow-step-3",
    ]
    settings = earlier.folder.read_set().settings
    assert settings.checkpoint == 1
    assert settings.adapter == adapter_hashes(checkpoint_folder(run.checkpoints, 1))
    assert finished.folder.read_set().settings.checkpoint is None
    assert np.array_equal(pixels(last), pixels(finished))
    assert not np.array_equal(pixels(earlier), pixels(finished))
    assert find_set(run.images, None).path == finished.folder.path
    command = generate_command(run, run.read(), earlier.folder.read_set())
    assert "--checkpoint 1" in command
    assert "--set cat-in-snow-step-1" in command


def test_a_run_that_never_came_to_its_end(run, draw_set):
    """Of a training that was stopped, or diverged, an earlier step can be drawn all the same."""
    run.write(dataclasses.replace(run.read(), status="diverged"))
    assert draw_set(run, SNOW, images_per_prompt=1, checkpoint=2).count == 1


def test_what_cannot_be_drawn(run, draw_set):
    """A step without a checkpoint, and one that was altered: one line each, and nothing is drawn."""
    with pytest.raises(RunError, match=r"keeps no checkpoint of step 7 \(there: 1, 2, 3\)"):
        draw_set(run, SNOW, checkpoint=7)
    file = checkpoint_folder(run.checkpoints, 2) / LORA_FILE
    file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    with pytest.raises(RunError, match=f"{LORA_FILE} was altered"):
        draw_set(run, SNOW, checkpoint=2)
    assert not run.images.exists()


@pytest.mark.parametrize("other", [{"no_adapter": True}, {"weights": (1.0, 1.0)}, {"checkpoint": 0}])
def test_requests_that_make_no_sense(other):
    """The step is one of one run's training."""
    with pytest.raises(ConfigError, match="--checkpoint"):
        GenerateRequest(**{"checkpoint": 1, **other}).check()


@pytest.mark.parametrize(
    ("request_", "name"),
    [
        (GenerateRequest(checkpoint=100), "benchmark-step-100"),
        (GenerateRequest(checkpoint=100, unrelated=True), "unrelated-step-100"),
        (GenerateRequest(checkpoint=100, prompts=("a <V> cat",)), "a-cat-step-100"),
    ],
)
def test_names_of_sets(request_, name):
    assert request_.default_set_name == name
