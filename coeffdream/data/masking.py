"""Masks made by a model for the photos of a concept: written beside them, and shown in one picture to be looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from coeffdream.data.concept import Concept
from coeffdream.data.images import full_size, load_image
from coeffdream.data.masks import load_mask, mask_beside
from coeffdream.errors import ConceptError, together
from coeffdream.progress import Progress
from coeffdream.records.files import replacing

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

# photo, words -> how sure each pixel is: [height, width], in [0, 1]
Shares = Callable[["Image", str], "Tensor"]
ALL_BUT = 0.95  # of a photo: what is left tells nothing of the background
CELL = 320  # pixels of the longer side of a photo in the picture
GAP = 8
PAPER = (250, 250, 248)


@dataclass(frozen=True)
class Masked:
    """The mask of one photo. share: of the photo's pixels; surest: the model, of any pixel."""

    photo: str
    mask: str
    share: float
    surest: float


def make_masks(
    concept: Concept, photos: Sequence[Path], shares: Shares, threshold: float, progress: Progress
) -> list[Masked]:
    """Write NAME.mask.png beside each of `photos`: white where `shares` is `threshold` or more, black elsewhere.

    All or none: raises ConceptError, and nothing is written, where the thing is found nowhere in a photo.
    """
    from PIL.Image import Resampling, fromarray

    made: list[tuple[Masked, Image]] = []
    missed: list[str] = []
    for number, path in enumerate(photos):
        progress("looking", number, len(photos), path.name)
        photo = load_image(path)
        share = shares(photo, concept.class_noun)
        found = share >= threshold
        if not found.any():
            missed.append(
                f"no {concept.class_noun} was found in {path.name} (at most {share.max().item():.2f} sure)"
            )
            continue
        mask = fromarray(found.byte().mul(255).numpy())
        if mask.size != full_size(photo):  # a very large photo was looked at in half its size
            mask = mask.resize(full_size(photo), Resampling.NEAREST)
        told = Masked(path.name, mask_beside(path).name, found.double().mean().item(), share.max().item())
        made.append((told, mask))
    progress("looking", len(photos), len(photos), "")
    if missed:
        missed[-1] += "; nothing was written: name it otherwise with --class, or give a lower --threshold"
        raise ConceptError(together(f"{concept.folder} cannot be masked", missed))
    for told, mask in made:
        with replacing(concept.folder / told.mask) as temporary:
            mask.save(temporary, "PNG")
    return [told for told, _ in made]


def draw_masks(photos: Sequence[Path], file: Path) -> None:
    """Every photo beside itself with all but the thing faded: one picture, a JPEG or PNG by the name of `file`."""
    from PIL import Image

    rows = []
    for path in photos:
        photo, mask = load_image(path), load_mask(path)
        photo.thumbnail((CELL, CELL))
        faded = Image.blend(photo, Image.new("RGB", photo.size, PAPER), 0.85)
        if mask:
            faded = Image.composite(photo, faded, mask.resize(photo.size))
        rows.append((photo, faded))
    height = max(photo.height for photo, _ in rows) + GAP
    columns = min(3, len(rows))
    width = 2 * CELL + 3 * GAP
    sheet = Image.new("RGB", (columns * width, -(-len(rows) // columns) * height + GAP), PAPER)
    for number, (photo, faded) in enumerate(rows):
        left, top = number % columns * width + GAP, number // columns * height + GAP
        sheet.paste(photo, (left, top))
        sheet.paste(faded, (left + CELL + GAP, top))
    with replacing(file) as temporary:
        sheet.save(temporary, "PNG" if file.suffix.lower() == ".png" else "JPEG", quality=90)
