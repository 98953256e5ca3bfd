"""Finished runs on the random miniature, with something to see in them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from coeffdream.backbones.base import find_base
from coeffdream.config import TrainConfig
from coeffdream.data.concept import load_concept
from coeffdream.progress import silent
from coeffdream.records.run import RunFolder


@pytest.fixture(scope="session")
def trained_once(tiny_base, tmp_path_factory):
    made: dict[str, Path] = {}

    def call(method: str) -> Path:
        from coeffdream.training.run import train

        if method not in made:
            photos = tmp_path_factory.mktemp("photos") / "cat"
            photos.mkdir()
            rng = np.random.default_rng(0)
            Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(photos / "0.png")
            config = TrainConfig(
                concept=str(photos),
                base=str(tiny_base),
                method=method,  # type: ignore[arg-type]
                resolution=32,
                steps=3,
                lr=0.1,
                sample_every=0,
                device="cpu",
                runs=str(tmp_path_factory.mktemp("trained")),
            )
            run, _ = train(config, load_concept(photos), find_base(str(tiny_base)), silent)
            made[method] = run.path
        return made[method]

    return call


@pytest.fixture
def trained_run(trained_once, tmp_path):
    """A copy of its own: three big steps of a method."""

    def call(method: str) -> RunFolder:
        folder = tmp_path / "runs" / trained_once(method).name
        if not folder.exists():
            shutil.copytree(trained_once(method), folder)
        return RunFolder(folder)

    return call


@pytest.fixture
def predict():
    """One forward pass of the miniature on fixed inputs."""

    def call(unet) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        sample = torch.randn(2, 4, 8, 8, generator=generator)
        text = torch.randn(2, 77, 32, generator=generator)
        added = {
            "text_embeds": torch.randn(2, 16, generator=generator),
            "time_ids": torch.tensor([[32.0, 32, 0, 0, 32, 32]] * 2),
        }
        with torch.no_grad():
            return unet(sample, torch.tensor([1, 500]), text, added_cond_kwargs=added).sample

    return call


@pytest.fixture
def read_file():
    def call(file: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
        from safetensors import safe_open

        with safe_open(file, "pt") as opened:
            return {key: opened.get_tensor(key) for key in opened.keys()}, dict(opened.metadata())  # noqa: SIM118

    return call
