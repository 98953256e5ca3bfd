"""Features on disk, by the content's hash and the encoder's: the same picture is never encoded twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coeffdream.backbones.halving import halving
from coeffdream.backbones.processes import in_turns, of_the_first, processes
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
    distinct = {content: contents.index(content) for content in dict.fromkeys(contents)}
    known = _known(cache, encoder, width, list(distinct))
    missing = {content: position for content, position in distinct.items() if content not in known}
    shares = {content: contents.count(content) for content in {*known, *missing}}
    on_done(sum(shares[content] for content in known))
    waiting = list(missing.items())

    def encoded(batch: Sequence[tuple[str, int]]) -> Features:
        return np.asarray(encode([position for _, position in batch]), dtype=np.float32)

    def shared(batch: Sequence[tuple[str, int]]) -> Tensor:
        return torch.from_numpy(
            np.concatenate([rows for _, rows in halving(batch, batch_size, encoded, smaller)])
        )

    batches: Iterable[tuple[Sequence[tuple[str, int]], Any]] = (
        halving(waiting, batch_size, encoded, smaller)
        if processes().count == 1
        else in_turns(waiting, batch_size, shared, (width,), torch.float32)
    )
    for batch, rows in batches:
        for (content, _), row in zip(batch, rows, strict=True):
            features = np.asarray(row)
            if processes().first:
                cache.write(encoder, content, features)
            known[content] = features
        on_done(sum(shares[content] for content, _ in batch))
    return np.stack([known[content] for content in contents])


def _known(cache: FeatureCache, encoder: str, width: int, contents: Sequence[str]) -> dict[str, Features]:
    """What is in the cache. Of several processes the first looks, and tells the others."""
    stored = {content: cache.read(encoder, content, width) for content in contents if processes().first}
    known = {content: features for content, features in stored.items() if features is not None}
    if processes().count == 1:
        return known
    table = torch.zeros(len(contents), width + 1)
    for row, content in enumerate(contents):
        if content in known:
            table[row] = torch.tensor([1.0, *known[content].tolist()])
    told = of_the_first(table).numpy()
    return {content: row[1:] for content, row in zip(contents, told, strict=True) if row[0]}


def _whose(encoder: str, content: str) -> dict[str, str]:
    return {"encoder": encoder, "content": content}
