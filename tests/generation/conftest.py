"""One quickly trained run on the random miniature, of which each test gets a copy."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from coeffdream.backbones.base import find_base
from coeffdream.config import TrainConfig
from coeffdream.data.concept import load_concept
from coeffdream.generation import run as generation
from coeffdream.generation.request import GenerateRequest
from coeffdream.progress import silent
from coeffdream.records.run import RunFolder
from coeffdream.training.run import train


@pytest.fixture(autouse=True)
def quick(few_validation_draws, loaded_once) -> None:
    """Nothing here looks at the validation."""


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos") / "cat"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(2):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        coarse.resize((64, 48), Image.Resampling.BICUBIC).save(folder / f"{index}.png")
    return folder


@pytest.fixture(scope="session")
def learned(tiny_base, photos, tmp_path_factory):
    """Train by a given method, once a session, with a rate that makes the adapter visible."""
    made: dict[str, Path] = {}

    def trained(method: str) -> Path:
        if method not in made:
            config = TrainConfig(
                concept=str(photos),
                base=str(tiny_base),
                method=method,
                resolution=32,
                steps=3,
                lr=0.05,
                sample_every=0,
                device="cpu",
                runs=str(tmp_path_factory.mktemp("learned")),
            )
            run, _ = train(config, load_concept(photos), find_base(str(tiny_base)), silent)
            made[method] = run.path
        return made[method]

    return trained


@pytest.fixture
def run_of(learned, tmp_path):
    """A run of the given method that a test may alter."""

    def copied(method: str = "coeff-lora") -> RunFolder:
        folder = tmp_path / "runs" / f"cat-{method}"
        if not folder.exists():
            shutil.copytree(learned(method), folder)
        return RunFolder(folder)

    return copied


@pytest.fixture
def draw_set(tiny_base):
    """Generate into a run; keyword arguments are those of the request."""

    def drawn(run, *prompts, progress=silent, warn=lambda _: None, grid=False, base=None, **changes):
        request = GenerateRequest(prompts=prompts, device="cpu", **changes)
        chosen = find_base(str(base or tiny_base))
        record = run.read()
        return generation.generate(request, run, record, chosen, grid=grid, progress=progress, warn=warn)

    return drawn


@pytest.fixture
def pixels():
    """The pictures of a generated set as one array [n, side, side, 3]."""

    def read(made) -> np.ndarray:
        opened = [Image.open(made.folder.path / image.file) for image in made.images]
        return np.stack([np.asarray(image).astype(int) for image in opened])

    return read
