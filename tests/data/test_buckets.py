"""The sizes that photos are trained at: SDXL's own, scaled, the nearest in shape."""

from __future__ import annotations

import pytest
from PIL import Image

from coeffdream.data.buckets import SDXL_SIZES, training_size
from coeffdream.data.images import resize_and_crop


def test_the_sizes_are_sdxls():
    """Multiples of 64, an area of at most a megapixel and hardly less, each with its mirror image, none twice."""
    assert len(set(SDXL_SIZES)) == len(SDXL_SIZES) == 41
    for width, height in SDXL_SIZES:
        assert width % 64 == height % 64 == 0
        assert 0.87 * 1024**2 < width * height <= 1024**2
        assert (height, width) in SDXL_SIZES


@pytest.mark.parametrize(
    ("photo", "size"),
    [
        ((3000, 3000), (1024, 1024)),
        ((4000, 3000), (1152, 896)),
        ((3000, 4000), (896, 1152)),
        ((3000, 2000), (1216, 832)),
        ((1920, 1080), (1344, 768)),
        ((9000, 1000), (2048, 512)),
        ((100, 900), (512, 2048)),
    ],
)
def test_the_nearest_in_shape(photo, size):
    """Also for photos beyond the longest bucket, and smaller than any."""
    assert training_size(*photo, 1024, buckets=True) == size
    assert training_size(*photo, 512, buckets=True) == (size[0] // 2, size[1] // 2)
    assert training_size(*photo, 1024, buckets=False) == (1024, 1024)


@pytest.mark.parametrize("resolution", [16, 64, 200, 768, 1000, 2048])
def test_every_resolution_has_whole_latents(resolution):
    """The VAE needs multiples of 8, whatever the resolution makes of 64."""
    for width, height in SDXL_SIZES:
        for side in training_size(width, height, resolution, buckets=True):
            assert side >= 8
            assert side % 8 == 0


def test_a_crop_of_another_shape():
    """The middle of the photo that covers the bucket: what is cut off, and what SDXL is told of it."""
    photo = Image.new("RGB", (400, 200), "black")
    photo.paste("white", (200, 0, 400, 200))
    crop, size = resize_and_crop(photo, 96, 64)
    assert crop.size == (96, 64)
    assert size.time_ids() == (200, 400, 0, 16, 64, 96)
    assert crop.getpixel((40, 30)) == (0, 0, 0)
    assert crop.getpixel((56, 30)) == (255, 255, 255)
