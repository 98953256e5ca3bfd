"""Features on disk, by the content's hash and the encoder's: the same picture is never encoded twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from coeffdream.backbones.halving import halving
from coeffdream.metrics.encoder import Features
from coeffdream.records.environment import cache_folder
from coeffdream.records.tensors import DIGEST, open_tensors, write_tensors


class FeatureCache:
    """One small safetensors file per (encoder, content). What does not read back whole is made again."""

    def __init__(self, folder: Path | None = None) -> None:
        """`folder` is features/ in coeffdream's own cache unless it is given."""
        self.folder = cache_folder() / "features" if folder is None else folder
        self.problem: str | None = None

    def read(self, encoder: str, content: str, width: int) -> Features | None:
        """The stored [width] features, or None when there are none that can be trusted."""
        try:
            stored = open_tensors(self._path(encoder, content))
            whose = {key: value for key, value in stored.metadata.items() if key != DIGEST}
            if whose != _whose(encoder, content) or stored.shapes != {"features": (width,)}:
                return None
            return dict(stored.read())["features"] if stored.check_digest() else None
        except (OSError, ValueError):
            return None

    def write(self, encoder: str, content: str, features: Features) -> None:
        """Store [width] features. A folder that cannot be written is noted in `problem`, and left alone."""
        if self.problem is not None:
            return
        try:
            write_tensors(self._path(encoder, content), {"features": features}, _whose(encoder, content))
        except OSError as error:
            self.problem = (
                f"features are not cached: {self.folder} cannot be written ({error}); set COEFFDREAM_CACHE"
            )

    def _path(self, encoder: str, content: str) -> Path:
        return self.folder / encoder[:16] / f"{content}.safetensors"


def encode_through(
    cache: FeatureCache,
    encoder: str,
    width: int,
    contents: Sequence[str],
    encode: Callable[[Sequence[int]], Features],
    *,
    batch_size: int,
    on_done: Callable[[int], None] = lambda count: None,
    smaller: Callable[[int], None] = lambda size: None,
) -> Features:
    """Features [n, width] of n contents given by hash; `encode` gets the positions not in the cache.

    Equal contents are encoded once. `on_done` hears how many more of the n are finished, `smaller` of a batch
    size that the memory forced.
    """
    known: dict[str, Features] = {}
    missing: dict[str, int] = {}
    for position, content in enumerate(contents):
        if content in known or content in missing:
            continue
        stored = cache.read(encoder, content, width)
        if stored is None:
            missing[content] = position
        else:
            known[content] = stored
    shares = {content: contents.count(content) for content in {*known, *missing}}
    on_done(sum(shares[content] for content in known))
    waiting = list(missing.items())

    def encoded(batch: Sequence[tuple[str, int]]) -> Features:
        return np.asarray(encode([position for _, position in batch]), dtype=np.float32)

    for batch, rows in halving(waiting, batch_size, encoded, smaller):
        for (content, _), features in zip(batch, rows, strict=True):
            cache.write(encoder, content, features)
            known[content] = features
        on_done(sum(shares[content] for content, _ in batch))
    return np.stack([known[content] for content in contents])


def _whose(encoder: str, content: str) -> dict[str, str]:
    return {"encoder": encoder, "content": content}
