"""One photo of a concept, as it was when the concept was read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from coeffdream.data.images import load_image
from coeffdream.data.masks import load_mask, mask_file
from coeffdream.errors import ConceptError
from coeffdream.records.files import sha256_of_file

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class ConceptImage:
    """One photo. `width` and `height` are pixels of the upright photo; `caption` still holds <V>.

    mask_sha256: of the file that holds its mask, the photo itself where that is its alpha channel;
    None for a photo without a mask.
    held_out: kept out of training, to score against (data/holdout.py).
    """

    path: Path
    sha256: str
    width: int
    height: int
    caption: str
    mask_sha256: str | None = None
    held_out: bool = False

    def load(self) -> Image:
        """The photo. Raises ConceptError also when it is no longer the file that the concept was made of."""
        photo = load_image(self.path)
        _unaltered(self.path, self.sha256)
        return photo

    def load_mask(self) -> Image | None:
        """The photo's mask (mode L, of the size of `load`), if it has one. Raises ConceptError as `load` does."""
        mask = load_mask(self.path)
        if self.mask_sha256 is not None:
            _unaltered(mask_file(self.path), self.mask_sha256)
        return mask


def _unaltered(path: Path, sha256: str) -> None:
    if sha256_of_file(path) != sha256:
        raise ConceptError(f"{path} was altered after the concept was read; run the same command again")
