"""Features on disk, by the content's hash and the encoder's: the same picture is never encoded twice."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from coeffdream.metrics.encoder import Features
from coeffdream.records.environment import cache_folder
from coeffdream.records.files import replacing


class FeatureCache:
    """One small safetensors file per (encoder, content). What does not read back whole is made again."""

    def __init__(self, folder: Path | None = None) -> None:
        """`folder` is features/ in coeffdream's own cache unless it is given."""
        self.folder = cache_folder() / "features" if folder is None else folder
        self.problem: str | None = None

    def read(self, encoder: str, content: str, width: int) -> Features | None:
        """The stored [width] features, or None when there are none that can be trusted."""
        try:
            with safe_open(self._path(encoder, content), framework="np") as stored:
                features = stored.get_tensor("features")
                checksum = (stored.metadata() or {}).get("checksum")
        except (OSError, SafetensorError):
            return None
        fits = features.shape == (width,) and features.dtype == np.float32
        return features if fits and checksum == _checksum(encoder, content, features) else None

    def write(self, encoder: str, content: str, features: Features) -> None:
        """Store [width] features. A folder that cannot be written is noted in `problem`, and left alone."""
        if self.problem is not None:
            return
        try:
            with replacing(self._path(encoder, content)) as temporary:
                checksum = _checksum(encoder, content, features)
                save_file({"features": np.ascontiguousarray(features)}, temporary, {"checksum": checksum})
        except (OSError, SafetensorError) as error:
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
) -> Features:
    """Features [n, width] of n contents given by hash; `encode` gets the positions not in the cache.

    Equal contents are encoded once. `on_done` hears how many more of the n are finished.
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
    for start in range(0, len(waiting), batch_size):
        batch = waiting[start : start + batch_size]
        encoded = np.asarray(encode([position for _, position in batch]), dtype=np.float32)
        for (content, _), features in zip(batch, encoded, strict=True):
            cache.write(encoder, content, features)
            known[content] = features
        on_done(sum(shares[content] for content, _ in batch))
    return np.stack([known[content] for content in contents])


def _checksum(encoder: str, content: str, features: Features) -> str:
    return hashlib.sha256(f"{encoder} {content} ".encode() + features.tobytes()).hexdigest()
