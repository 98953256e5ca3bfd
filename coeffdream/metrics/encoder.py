"""What a scorer's encoder offers, whichever library is behind it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from coeffdream.records.encoders import EncoderRecord
from coeffdream.records.fields import record_to_json
from coeffdream.records.files import sha256_of_json

if TYPE_CHECKING:
    from PIL.Image import Image

Features = NDArray[np.float32]


class ImageEncoder(Protocol):
    """Pictures to features. The model is loaded when it is first needed; `describe` needs none."""

    name: str
    width: int

    def describe(self) -> EncoderRecord:
        """What scores.json says of it."""

    def images(self, images: Sequence[Image]) -> Features:
        """One batch of RGB pictures of any size -> [n, width], not normalised."""


class PatchEncoder(ImageEncoder, Protocol):
    """Pictures to features of their patches, too."""

    def patches(self, images: Sequence[Image]) -> Features:
        """One batch of RGB pictures -> [n, P, width], not normalised."""

    def cover(self, mask: Image) -> Features:
        """Which share of each patch a mask of a picture covers, 0 to 1: [P]."""


class PromptedEncoder(Protocol):
    """Pictures with their texts to one value each."""

    name: str

    def describe(self) -> EncoderRecord:
        """What scores.json says of it."""

    def values(self, images: Sequence[Image], texts: Sequence[str]) -> Features:
        """One batch of RGB pictures, each with its text -> [n]."""


class ImageTextEncoder(ImageEncoder, Protocol):
    """Pictures and texts to features of one space."""

    context_length: int

    def texts(self, texts: Sequence[str]) -> Features:
        """One batch of texts -> [n, width], not normalised. What is past `context_length` is not read."""

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text with its start and end, before any is cut off."""


def fingerprint(encoder: ImageEncoder | PromptedEncoder) -> str:
    """A hash that changes whenever the features could: weights, preprocessing, libraries."""
    return sha256_of_json(record_to_json(encoder.describe()))


def versions(*packages: str) -> dict[str, str]:
    return {package: version(package) for package in packages}
