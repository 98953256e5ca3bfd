"""Telling whether two records speak of one base model."""

from __future__ import annotations

import math
from collections.abc import Sequence

# Rounding to half precision moves a weight less than this (8 bits of bfloat16 are 0.4 %).
SKETCH_TOLERANCE = 0.01


def same_weights(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether two sketches are of the same weights, in whatever precision each was read."""
    return len(one) == len(other) and all(
        math.isclose(a, b, rel_tol=SKETCH_TOLERANCE, abs_tol=1e-6) for a, b in zip(one, other, strict=True)
    )
