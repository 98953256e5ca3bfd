"""What a run learned from: the photos of its concept."""

from __future__ import annotations

from dataclasses import dataclass

from coeffdream.records.fields import Positive, Text


@dataclass(frozen=True)
class PhotoRecord:
    """One photo; `width` and `height` in pixels, `caption` still holds <V>.

    mask_sha256: of the file that held its mask, the photo's own where that was its alpha channel. held_out: kept out
    of training.
    """

    file: Text
    sha256: str
    width: Positive
    height: Positive
    caption: str
    held_out: bool = False
    mask_sha256: str | None = None


@dataclass(frozen=True)
class ConceptRecord:
    """`class_source` says what the class noun was taken from."""

    name: Text
    folder: Text
    class_noun: Text
    class_source: str
    live: bool
    images: list[PhotoRecord]

    @property
    def learned(self) -> list[PhotoRecord]:
        """The photos that were trained on."""
        return [image for image in self.images if not image.held_out]

    @property
    def held_out(self) -> list[PhotoRecord]:
        """The photos that were kept out of training."""
        return [image for image in self.images if image.held_out]
