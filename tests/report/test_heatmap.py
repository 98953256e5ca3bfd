"""The picture of the coefficients: every layer is on it, and colours say which way."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from coeffdream.report.heatmap import draw_heatmap


@pytest.mark.parametrize(("layers", "heads"), [(1, 1), (8, 4), (40, 3)])
def test_heatmap(layers, heads, tmp_path):
    """A PNG that a person can open, for one layer as for many; untouched layers draw, too."""
    rng = np.random.default_rng(0)
    mixings = {
        f"up_blocks.{number}.attn1": np.eye(heads) + rng.normal(size=(heads, heads)) * (number % 2)
        for number in range(layers)
    }
    draw_heatmap(mixings, tmp_path / "alpha.png")
    with Image.open(tmp_path / "alpha.png") as picture:
        assert picture.format == "PNG"
        assert 200 <= picture.width <= 4000
        assert 200 <= picture.height <= 4000
        colours = len(picture.convert("RGB").getcolors(1 << 24))
    assert colours > 20


def test_heatmap_shows_the_sign(tmp_path):
    """Red adds a head's map, blue takes it away."""

    def mean_colour(value):
        draw_heatmap({"mid_block.attn1": np.eye(2) + value}, tmp_path / "alpha.png")
        with Image.open(tmp_path / "alpha.png") as picture:
            pixels = np.asarray(picture.convert("RGB")).astype(int)
        return pixels[pixels.shape[0] // 2, pixels.shape[1] // 3]

    red, blue = mean_colour(0.5), mean_colour(-0.5)
    assert red[0] > red[2] + 50
    assert blue[2] > blue[0] + 50
