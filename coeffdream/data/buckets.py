"""The size at which a photo is trained on: a square, or that of SDXL's own sizes which is nearest in shape."""

from __future__ import annotations

import math

# Width and height of the sizes that SDXL was trained at (arXiv 2307.01952, appendix I); each has its mirror image.
_WIDE = (
    *((2048, 512), (1984, 512), (1920, 512), (1856, 512), (1792, 576), (1728, 576), (1664, 576)),
    *((1600, 640), (1536, 640), (1472, 704), (1408, 704), (1344, 704), (1344, 768), (1280, 768)),
    *((1216, 832), (1152, 832), (1152, 896), (1088, 896), (1088, 960), (1024, 960)),
)
SDXL_SIZES = ((1024, 1024), *_WIDE, *((height, width) for width, height in _WIDE))
SDXL_SIDE = 1024
STEP = 8  # pixels that a latent spans


def training_size(width: int, height: int, resolution: int, *, buckets: bool) -> tuple[int, int]:
    """(width, height) in pixels to which a photo of this width and height is cut.

    With `buckets` SDXL's sizes are scaled by resolution / 1024, each side to the nearest multiple of 8, and that of the
    nearest aspect ratio (as a factor) is taken.
    """
    if not buckets:
        return resolution, resolution
    sizes = [(_scaled(wide, resolution), _scaled(high, resolution)) for wide, high in SDXL_SIZES]
    return min(sizes, key=lambda size: abs(math.log(size[0] * height / (size[1] * width))))


def _scaled(side: int, resolution: int) -> int:
    return max(STEP, round(side * resolution / SDXL_SIDE / STEP) * STEP)
