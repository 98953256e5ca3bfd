"""A concept folder: a few photos of one thing, what the thing is called, and its captions."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coeffdream.data.beside import check_place, concept_settings, read_caption
from coeffdream.data.buckets import training_size
from coeffdream.data.class_noun import SETTINGS, doubtful, find_class_noun, unmade_repeats
from coeffdream.data.images import EXTENSIONS, full_size, load_with_alpha
from coeffdream.data.listing import entries, is_text
from coeffdream.data.living import is_live
from coeffdream.data.masks import check_masks, is_mask, mask_beside, mask_file, mask_of
from coeffdream.data.photo import ConceptImage
from coeffdream.data.prompts import check_prompt, fill_class
from coeffdream.errors import MOST_LISTED, ConceptError, listed, quoted, together
from coeffdream.records.files import sha256_of_file

MANY_PHOTOS = 50
MOST_PHOTOS = 500  # more is an album given by mistake
MOST_PHOTOS_VARIABLE = "COEFFDREAM_MAX_PHOTOS"

# Photos that a person put there to be learned from, in formats that Pillow does not read by itself.
_FOREIGN_IMAGES = frozenset(
    {
        ".gif",
        ".jxl",
        ".jp2",
        ".psd",
        ".svg",
        ".dng",
        ".cr2",
        ".cr3",
        ".nef",
        ".arw",
    }
)


@dataclass(frozen=True)
class Concept:
    """What `load_concept` found. `class_source` is "--class", "concept.toml" or "folder name"."""

    name: str
    folder: Path
    class_noun: str
    class_source: str
    live: bool
    images: tuple[ConceptImage, ...]
    warnings: tuple[str, ...]

    @property
    def learned(self) -> tuple[ConceptImage, ...]:
        """The photos to train on."""
        return tuple(image for image in self.images if not image.held_out)

    @property
    def held_out(self) -> tuple[ConceptImage, ...]:
        """The photos that are kept out of training."""
        return tuple(image for image in self.images if image.held_out)

    def smaller_than(self, resolution: int, *, buckets: bool = False) -> list[ConceptImage]:
        """The photos that training at `resolution` pixels would have to enlarge."""
        sizes = [training_size(each.width, each.height, resolution, buckets=buckets) for each in self.images]
        return [
            image
            for image, (width, height) in zip(self.images, sizes, strict=True)
            if image.width < width or image.height < height
        ]

    def check_masks(self) -> None:
        """Raises ConceptError unless every photo has a mask."""
        check_masks(self.folder, {image.path: image.mask_sha256 for image in self.images})


def load_concept(
    folder: Path,
    *,
    class_noun: str | None = None,
    caption_template: str = "a photo of <V> CLASS",
    all_masked: bool = True,
) -> Concept:
    """Read and check a whole concept folder; every photo is decoded once.

    A photo's caption is the .txt file beside it, else `caption_template`; CLASS in either becomes
    the class noun. The class noun is the argument, else concept.toml's `class`, else the folder's
    name. A photo's mask is NAME.mask.png beside it, else its alpha channel (data/masks.py); where
    there are such files, every photo must have a mask, unless `all_masked` is False.

    Raises ConceptError that lists every problem of the folder, and PromptError for a
    `caption_template` without <V>.
    """
    check_prompt(caption_template, needs_placeholder=True)
    files = _listing(folder)
    name = folder.resolve().name
    problems: list[str] = []
    if not is_text(name):
        problems.append(f"the folder's name {quoted(name)} is not UTF-8 text; rename it")

    settings: dict[str, Any] = {}
    with _collected(problems):
        settings = concept_settings(folder)
    noun, class_source = "", ""
    with _collected(problems):
        noun, class_source = find_class_noun(class_noun, settings.get("class"), name)

    photos = [path for path in files if _is_photo(path)]
    stems = {path.stem for path in photos}
    captions = {path.stem: path for path in files if path.suffix.lower() == ".txt" and path.stem in stems}
    masks = {mask_beside(path) for path in photos}.intersection(files)
    used = {*photos, *captions.values(), *masks}
    others = [path for path in files if path not in used]
    problems += [
        f"{path} is of a format that is not read; convert it to JPEG or PNG, or remove it"
        for path in others
        if path.suffix.lower() in _FOREIGN_IMAGES
    ]
    if not photos and not problems:
        raise ConceptError(_no_photos(folder, others))
    _check_number(folder, len(photos))

    images = []
    for path in photos:
        caption = caption_template
        with _collected(problems):
            if path.stem in captions:
                caption = read_caption(captions[path.stem], folder)
        with _collected(problems):
            check_place(path, folder)
            if mask_beside(path) in masks:
                check_place(mask_beside(path), folder)
            photo, alpha = load_with_alpha(path)
            masked = mask_of(path, photo, alpha) is not None
            images.append(
                ConceptImage(
                    path,
                    sha256_of_file(path),
                    *full_size(photo),
                    fill_class(caption, noun),
                    mask_sha256=sha256_of_file(mask_file(path)) if masked else None,
                )
            )
    with _collected(problems):
        if masks and all_masked:
            check_masks(folder, {image.path: image.mask_sha256 for image in images})
    if problems:
        raise ConceptError(together(f"{folder} cannot be learned from", problems))
    return Concept(
        name=" ".join("".join(letter if letter.isprintable() else " " for letter in name).split()),
        folder=folder,
        class_noun=noun,
        class_source=class_source,
        live=settings.get("live", is_live(noun)),
        images=tuple(images),
        warnings=(
            *_duplicates(images),
            *_crowd(images),
            *_some_cut_out(images),
            *doubtful(noun, class_source),
            *unmade_repeats(name),
            *_at_most_ten([_unused(path) for path in others]),
        ),
    )


@contextlib.contextmanager
def _collected(problems: list[str]) -> Iterator[None]:
    """Keep a ConceptError as one of the folder's problems and go on."""
    try:
        yield
    except ConceptError as error:
        problems.append(str(error))


def _listing(folder: Path) -> list[Path]:
    """The folder's entries by name, without concept.toml, hidden files and what systems leave behind."""
    if not folder.exists():
        raise ConceptError(f"{folder} does not exist; give a folder with a few photos of one thing")
    if not folder.is_dir():
        raise ConceptError(f"{folder} is a file; give the folder that holds the photos")
    try:
        return [path for path in entries(folder) if path.name != SETTINGS]
    except OSError as error:
        raise ConceptError(f"{folder} cannot be listed ({error.strerror}); change its permissions") from None


def _check_number(folder: Path, photos: int) -> None:
    """Raises ConceptError for more photos than one concept has, before the first is decoded."""
    setting = os.environ.get(MOST_PHOTOS_VARIABLE, str(MOST_PHOTOS))
    if not re.fullmatch(r"[1-9]\d{0,8}", setting):
        raise ConceptError(
            f"{MOST_PHOTOS_VARIABLE} is {quoted(setting)}; set it to a whole number, or to none"
        )
    if photos > int(setting):
        raise ConceptError(
            f"{folder} holds {photos:,} photos, above the limit of {int(setting):,} for one concept; give a folder "
            f"with a few photos of one thing, or raise the limit: {MOST_PHOTOS_VARIABLE}={photos}"
        )


def _no_photos(folder: Path, others: list[Path]) -> str:
    if not others:
        return f"{folder} is empty; put three to six photos of one thing into it"
    inside = [path.name for path in others if path.is_dir() and _holds_photos(path)]
    if inside:
        return f"{folder} holds no photos itself, but folders that do ({listed(inside)}); give one of those"
    return (
        f"{folder} holds no photos (there: {listed([path.name for path in others])}); "
        f"put in photos that end in {', '.join(sorted(EXTENSIONS))}"
    )


def _is_photo(path: Path) -> bool:
    return path.suffix.lower() in EXTENSIONS and not path.is_dir() and not is_mask(path)


def _holds_photos(folder: Path) -> bool:
    try:
        return any(_is_photo(path) for path in entries(folder))
    except OSError:
        return False


def _duplicates(images: list[ConceptImage]) -> list[str]:
    first: dict[str, Path] = {}
    lines = []
    for image in images:
        if image.sha256 in first:
            lines.append(
                f"{image.path.name} is the same photo as {first[image.sha256].name} and counts twice"
            )
        first.setdefault(image.sha256, image.path)
    return lines


def _crowd(images: list[ConceptImage]) -> list[str]:
    if len(images) <= MANY_PHOTOS:
        return []
    return [f"{len(images)} photos are many for one concept; three to six good ones are the usual number"]


def _some_cut_out(images: list[ConceptImage]) -> list[str]:
    cut_out = [image.path.name for image in images if image.mask_sha256 is not None]
    if len(cut_out) in (0, len(images)):
        return []
    return [
        f"the transparency of {listed(cut_out)} is laid on white and is no mask: the other photos have none"
    ]


def _at_most_ten(lines: list[str]) -> list[str]:
    more = len(lines) - MOST_LISTED
    return lines if more <= 0 else [*lines[:MOST_LISTED], f"{more:,} more files and folders are not used"]


def _unused(path: Path) -> str:
    if path.is_dir():
        return f"{path.name} is a folder and is not looked into"
    if path.suffix.lower() == ".txt" or is_mask(path):
        return f"{path.name} is not used: no photo has that name"
    return f"{path.name} is not used: it is neither a photo nor a caption"
