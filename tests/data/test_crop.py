"""The square that is learned from, and what SDXL is told of its size."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from coeffdream.data.images import SizeConditioning, resize_and_crop

spec = importlib.util.spec_from_file_location("pictures", Path(__file__).with_name("pictures.py"))
pictures = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pictures)
scene, pixels = pictures.scene, pictures.pixels


@pytest.mark.parametrize(
    ("width", "height"), [(64, 48), (48, 64), (333, 97), (100, 100), (37, 200), (45, 46)]
)
@pytest.mark.parametrize("resolution", [32, 64])
def test_crop_is_the_centre_of_the_resized_photo(width: int, height: int, resolution: int) -> None:
    """Resizing only the box gives what resizing everything and cutting would give."""
    photo = Image.fromarray(scene(width, height))
    square, size = resize_and_crop(photo, resolution)
    scale = resolution / min(width, height)
    whole = photo.resize(
        (max(resolution, round(width * scale)), max(resolution, round(height * scale))),
        Image.Resampling.LANCZOS,
    )
    top, left = size.crop_top_left
    expected = whole.crop((left, top, left + resolution, top + resolution))
    assert square.size == (resolution, resolution)
    assert np.abs(pixels(square) - pixels(expected)).max() <= 1
    assert abs(left - (whole.width - resolution) / 2) <= 0.5
    assert abs(top - (whole.height - resolution) / 2) <= 0.5


def test_size_conditioning_is_true_per_image() -> None:
    """SDXL is told (height, width) of the photo, (top, left) of the crop, (height, width) it sees."""
    _, wide = resize_and_crop(Image.new("RGB", (2000, 1000)), 512)
    assert wide == SizeConditioning((1000, 2000), (0, 256), (512, 512))
    assert wide.time_ids() == (1000, 2000, 0, 256, 512, 512)
    _, tall = resize_and_crop(Image.new("RGB", (300, 900)), 100)
    assert tall.time_ids() == (900, 300, 100, 0, 100, 100)


def test_downscaling_is_antialiased() -> None:
    """A fine checkerboard becomes even grey, not moire."""
    board = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)
    square, _ = resize_and_crop(Image.fromarray(board).convert("RGB"), 32)
    assert np.abs(pixels(square)[4:-4, 4:-4] - 127.5).max() < 3


def test_a_panorama_costs_no_more_than_its_square() -> None:
    """32 x 100,000 pixels at 1024 would be 3,200,000 wide if it were resized whole."""
    square, size = resize_and_crop(Image.new("RGB", (100_000, 32), "red"), 1024)
    assert square.size == (1024, 1024)
    assert size.crop_top_left == (0, (3_200_000 - 1024) // 2)
