"""Contact sheets of the drawn world."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from coeffdream.toybox.world.scene import render, sample_scene


def world_sheet(path: Path, columns: int = 16, rows: int = 12, side: int = 64) -> None:
    """Training scenes as they are drawn, in one picture at `path`."""
    page = Image.new("RGB", (columns * side, rows * side))
    for index in range(columns * rows):
        picture = render(sample_scene(np.random.default_rng((17, index))), side)
        page.paste(picture, (index % columns * side, index // columns * side))
    path.parent.mkdir(parents=True, exist_ok=True)
    page.save(path)
