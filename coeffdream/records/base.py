"""Which base model a record speaks of, and telling whether two speak of the same one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from coeffdream.records.fields import Text

# Rounding to half precision moves a weight less than this (8 bits of bfloat16 are 0.4 %).
SKETCH_TOLERANCE = 0.01


@dataclass(frozen=True)
class BaseRecord:
    """A base model. `architecture` and `sketch` (see backbones/fingerprint.py) are known once it was loaded.

    revision: of a hub repository, None the main one. base_config: the folder that configures a single file, None for
    SDXL's own. prediction: what overrides what the base says of itself, None for nothing.

    Pictures of another tool say no more of theirs than its name.
    """

    name: Text
    kind: Literal["toybox", "hub", "folder", "file"] | None = None
    source: str | None = None
    architecture: str | None = None
    sketch: list[float] = field(default_factory=list)
    revision: str | None = None
    base_config: str | None = None
    prediction: Literal["epsilon", "v"] | None = None

    def same_as(self, other: BaseRecord) -> bool:
        """Of one architecture with the same weights, read alike; by name where that is not known of both."""
        if self.prediction != other.prediction:
            return False
        if self.architecture is None or other.architecture is None:
            return self.name == other.name
        return self.architecture == other.architecture and same_weights(self.sketch, other.sketch)


def same_weights(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether two sketches are of the same weights, in whatever precision each was read."""
    return len(one) == len(other) and all(
        math.isclose(a, b, rel_tol=SKETCH_TOLERANCE, abs_tol=1e-6) for a, b in zip(one, other, strict=True)
    )
