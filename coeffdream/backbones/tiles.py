"""Decoding large pictures in tiles, whose memory does not grow with the picture."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

TILE = 512  # pixels a side; a quarter of each is blended with its neighbor


def latent_factor(vae: Any) -> int:
    """Pixels that one latent spans in each direction."""
    return int(2 ** (len(vae.config.block_out_channels) - 1))


@contextlib.contextmanager
def in_tiles(vae: Any, on: bool) -> Iterator[None]:
    """In the block `vae` decodes what is larger than TILE in tiles; where `on` is false, nothing changes."""
    if not on:
        yield
        return
    before = vae.use_tiling, vae.tile_sample_min_size, vae.tile_latent_min_size
    vae.use_tiling, vae.tile_sample_min_size, vae.tile_latent_min_size = (
        True,
        TILE,
        TILE // latent_factor(vae),
    )
    try:
        yield
    finally:
        vae.use_tiling, vae.tile_sample_min_size, vae.tile_latent_min_size = before
