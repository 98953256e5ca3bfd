"""Small copies of pictures as data URIs, so that the page needs no other file to be read."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from coeffdream.data.images import load_image
from coeffdream.errors import CoeffdreamError

SMALLEST = 96  # pixels; below that a picture says nothing, whatever it weighs


@dataclass(frozen=True)
class Thumbnail:
    """A picture small enough to stand in the page. `width` and `height` are its own, in pixels."""

    uri: str
    width: int
    height: int


def thumbnails(paths: Sequence[Path], *, side: int, budget: int) -> list[Thumbnail | None]:
    """One each, None for a file that is gone or cannot be read.

    Their longer side is at most `side` pixels, and less when all of them would exceed `budget` bytes.
    """
    while True:
        made = [_thumbnail(path, side) for path in paths]
        if sum(len(each.uri) for each in made if each) * 3 // 4 <= budget or side <= SMALLEST:
            return made
        side = max(side * 3 // 4, SMALLEST)


def _thumbnail(path: Path, side: int) -> Thumbnail | None:
    try:
        image = load_image(path)
    except (CoeffdreamError, OSError):
        return None
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return Thumbnail(data_uri(image, "webp", quality=84, method=4), image.width, image.height)


def data_uri(image: Image.Image, form: str, **how: Any) -> str:
    """`how`: what Pillow is told of writing this form."""
    stream = io.BytesIO()
    image.save(stream, form, **how)
    return f"data:image/{form};base64,{base64.b64encode(stream.getvalue()).decode()}"
