"""Where in a photo the thing is: its alpha channel, or NAME.mask.png beside it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from coeffdream.data.images import full_size, load_with_alpha
from coeffdream.errors import ConceptError, listed
from coeffdream.records.commands import command_line

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIX = ".mask.png"
INSIDE = 128  # of 255: from here on a pixel of a mask is the thing's


def is_mask(path: Path) -> bool:
    """Whether a file is the mask of a photo, by its name, and so no photo itself."""
    return path.name.lower().endswith(SUFFIX)


def mask_beside(photo: Path) -> Path:
    """Where the mask of a photo lies, if it has one of its own: cat.mask.png beside cat.jpg."""
    return photo.with_name(photo.stem + SUFFIX)


def mask_file(photo: Path) -> Path:
    """The file that holds the mask of a photo that has one."""
    beside = mask_beside(photo)
    return beside if os.path.lexists(beside) else photo


def load_mask(photo: Path) -> Image | None:
    """The mask of a photo, as `mask_of` finds it. Raises ConceptError as `load_image` and `mask_of` do."""
    return mask_of(photo, *load_with_alpha(photo))


def mask_of(path: Path, photo: Image, alpha: Image | None) -> Image | None:
    """The mask of the photo at `path`, mode L and of the size of `photo`: 255 the thing, 0 what is around it.

    photo, alpha: what `load_with_alpha` read there. NAME.mask.png beside the photo comes before its
    alpha channel; it is a mask of the photo as it is shown, upright. Such a file is white where the
    thing is, or transparent where it is not. An alpha channel that cuts nothing away is none.

    Raises ConceptError for a mask that is no image, of another size than the photo, or empty.
    """
    from PIL.Image import Resampling

    file = mask_file(path)
    if file == path:
        mask = alpha if alpha is not None and _cuts(alpha) else None
        return None if mask is None else _not_empty(path, mask, "transparent all over")
    shown, cut_out = load_with_alpha(file)
    if full_size(shown) != full_size(photo):
        theirs, ours = (" x ".join(map(str, full_size(image))) for image in (shown, photo))
        raise ConceptError(
            f"{file} has {theirs} pixels and its photo {path.name}, upright, {ours}; "
            "make the mask of that very photo, as viewers show it"
        )
    mask = cut_out if cut_out is not None and _cuts(cut_out) else shown.convert("L")
    if mask.size != photo.size:  # a large JPEG may be decoded one pixel wider than a PNG
        mask = mask.resize(photo.size, Resampling.BOX)
    return _not_empty(file, mask, "black all over")


def check_shown(path: Path, cropped: Image) -> None:
    """Raises ConceptError where nothing of the thing is left of the mask of `path` after the photo's crop."""
    if not _holds(cropped):
        raise nothing_shown(path)


def nothing_shown(path: Path) -> ConceptError:
    """What to say of a photo whose crop leaves nothing of the thing."""
    return ConceptError(
        f"{path}: what its mask marks lies outside of the part that is looked at; "
        "cut the photo so that the thing is in its middle"
    )


def check_masks(folder: Path, masks: Mapping[Path, object]) -> None:
    """Raises ConceptError unless every photo has a mask. masks: what each photo has; None for none."""
    missing = [path.name for path, mask in masks.items() if mask is None]
    if missing:
        raise ConceptError(
            f"{folder} has no masks for {listed(missing)}; put NAME{SUFFIX} beside each photo, white where "
            f"the thing is ({command_line('mask', folder)} makes them), or give all photos an alpha channel"
        )


def _cuts(alpha: Image) -> bool:
    return _extrema(alpha)[0] < INSIDE


def _holds(mask: Image) -> bool:
    return _extrema(mask)[1] >= INSIDE


def _extrema(mask: Image) -> tuple[float, float]:
    # Pillow types extrema as of any mode; L has one pair.
    return mask.getextrema()  # type: ignore[return-value]


def _not_empty(path: Path, mask: Image, how: str) -> Image:
    if not _holds(mask):
        raise ConceptError(f"{path} is an empty mask, {how}; mark where the thing is, or remove the mask")
    return mask
