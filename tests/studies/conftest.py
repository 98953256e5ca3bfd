"""A short run on the random miniature with three checkpoints, and scorers that see colors and words."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from coeffdream.backbones.base import find_base
from coeffdream.config import TrainConfig
from coeffdream.data.concept import load_concept
from coeffdream.metrics.encoders import Encoders
from coeffdream.progress import silent
from coeffdream.records.encoders import EncoderRecord
from coeffdream.records.run import RunFolder


@pytest.fixture(autouse=True)
def quick(loaded_once) -> None:
    """A sweep is of a run whose base another test has loaded."""


class Colors:
    """A picture's features are its mean colors in four quarters, a text's a draw that follows from its words."""

    name, width, context_length = "CLIP of colors", 12, 77

    def describe(self) -> EncoderRecord:
        return EncoderRecord(self.name, "colors", "", "", "", {}, self.width, {}, self.context_length)

    def images(self, images: Any) -> Any:
        small = [np.asarray(image.resize((2, 2), Image.Resampling.BOX), dtype=np.float32) for image in images]
        return np.stack([each.reshape(-1) - 127 for each in small])

    def patches(self, images: Any) -> Any:
        """Each picture is one patch."""
        return self.images(images)[:, None, :]

    def cover(self, mask: Any) -> Any:
        return np.asarray(mask, dtype=np.float32).mean(keepdims=True).reshape(1) / 255

    def texts(self, texts: Any) -> Any:
        seeds = [
            int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big") for text in texts
        ]
        return np.stack([np.random.default_rng(seed).normal(size=self.width) for seed in seeds]).astype("f4")

    def token_counts(self, texts: Any) -> list[int]:
        return [len(text.split()) for text in texts]


@pytest.fixture
def colors() -> Encoders:
    return Encoders(clip=Colors(), dino=Colors(), embedded=False)


@pytest.fixture(scope="session")
def learned(tiny_base, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos") / "cat"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(2):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        coarse.resize((64, 48), Image.Resampling.BICUBIC).save(folder / f"{index}.png")
    config = TrainConfig(
        concept=str(folder),
        base=str(tiny_base),
        resolution=32,
        steps=3,
        lr=0.05,
        sample_every=0,
        checkpoint_every=1,
        device="cpu",
        runs=str(tmp_path_factory.mktemp("learned")),
    )
    from coeffdream.training.run import train

    return train(config, load_concept(folder), find_base(str(tiny_base)), silent)[0].path


@pytest.fixture
def run(learned, tmp_path) -> RunFolder:
    """A copy that a test may alter."""
    return RunFolder(Path(shutil.copytree(learned, tmp_path / "runs" / "cat")))
