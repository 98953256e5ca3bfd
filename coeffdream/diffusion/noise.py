"""Counter-based randomness: every draw is a function of (seed, purpose, counters) and of nothing else.

So batch size, resume, device and method do not change the noise, two methods with one seed see the
same noise, and any single draw can be made again alone. Draws are made on the CPU, then moved.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def generator_for(seed: int, purpose: str, *counters: int) -> torch.Generator:
    """A CPU generator of its own for one draw."""
    text = ":".join([str(seed), purpose, *map(str, counters)])
    number = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
    return torch.Generator("cpu").manual_seed(number)


def normal(shape: tuple[int, ...], seed: int, purpose: str, *counters: int) -> Tensor:
    """Standard normal float32 values of `shape`, on the CPU."""
    return torch.randn(shape, generator=generator_for(seed, purpose, *counters))


def integer(below: int, seed: int, purpose: str, *counters: int) -> int:
    """A whole number in [0, below)."""
    return int(torch.randint(below, (), generator=generator_for(seed, purpose, *counters)))


def uniform(seed: int, purpose: str, *counters: int) -> float:
    """A number in [0, 1)."""
    return float(torch.rand((), generator=generator_for(seed, purpose, *counters)))


def permuted(count: int, position: int, seed: int, purpose: str) -> int:
    """The item at `position` of an endless sequence that visits all `count` items once per epoch."""
    epoch, offset = divmod(position, count)
    return int(torch.randperm(count, generator=generator_for(seed, purpose, epoch))[offset])
