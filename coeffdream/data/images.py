"""Photos as people have them -> upright 8-bit RGB, and the square that training sees."""

from __future__ import annotations

import contextlib
import functools
import io
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from coeffdream.data.png import PROFILE_LIMIT, SIGNATURE, pixels_only
from coeffdream.errors import ConceptError
from coeffdream.records.reading import opened

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 200_000_000
MAX_BYTES = 1 << 30  # of a file
PIXEL_BUDGET = 50_000_000  # a larger photo is decoded, or made right away, at half its size
MIN_SIDE = 32  # pixels of the shorter side
EXTENSIONS = frozenset(
    {".avif", ".bmp", ".heic", ".heif", ".hif", ".jfif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
)

# Only these decoders may see the file, whatever its name: Pillow would hand an EPS to Ghostscript.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "AVIF", "HEIF")
_BOXES = b"ftyp"  # in HEIC, AVIF and MP4, after four bytes
_REDUCIBLE = ("L", "LA", "RGB", "RGBA", "CMYK")
_FULL_SIZE = "full_size"  # in an image's info: its (width, height) before it was made to fit the budget
_pillow_globals = threading.Lock()


@dataclass(frozen=True)
class SizeConditioning:
    """What SDXL is told about the size and crop of one training image (arXiv 2307.01952, 2.2).

    original_size: (height, width) of the upright photo, in pixels.
    crop_top_left: (top, left) of the crop, in pixels of the resized photo.
    target_size: (height, width) of the image that the model sees, in pixels.
    """

    original_size: tuple[int, int]
    crop_top_left: tuple[int, int]
    target_size: tuple[int, int]

    def time_ids(self) -> tuple[int, int, int, int, int, int]:
        """The six numbers in the order in which SDXL embeds them."""
        return (*self.original_size, *self.crop_top_left, *self.target_size)


def load_image(path: Path) -> Image:
    """Read a photo as an upright 8-bit RGB image: that of `load_with_alpha`, whose errors it raises."""
    return load_with_alpha(path)[0]


def load_with_alpha(path: Path) -> tuple[Image, Image | None]:
    """Read a photo as an upright 8-bit RGB image, and its alpha channel (mode L, of the same size), if it has one.

    EXIF orientation is applied, transparency is laid on white, 16-bit grey is scaled to 8 bits, and
    an embedded colour profile (CMYK, a phone's Display P3) is converted to sRGB. A photo above
    PIXEL_BUDGET comes at half its size or less; `full_size` tells what it has.

    Raises ConceptError, which names the file and the remedy, for a file that is missing, no regular
    file, above 1 GiB, not an image, damaged, above 200 megapixels (told from its header, not decoded)
    or under 32 pixels.
    """
    with _undisturbed_pillow(), _stream(path) as stream, _opened(path, stream) as image:
        _check_size(path, *image.size)
        stored = image.size
        factor = _reduction(*stored)
        try:
            image.draft(None, (stored[0] // factor, stored[1] // factor))  # JPEG alone can do that
            image.load()
        except Exception as error:  # a damaged file makes Pillow raise nearly anything
            raise ConceptError(
                f"{path} is damaged or cut short ({_brief(error)}); copy it again from its source, or remove it"
            ) from None
        if image.mode in _REDUCIBLE:
            image = _reduced(image)
        upright = _upright(image)
        turned = upright.size == image.size[::-1]
        photo = _reduced(_to_rgb(path, upright))
        alpha = _alpha(upright)
    photo.info.clear()  # the profile and EXIF describe the file's pixels, no longer these
    if factor > 1:
        photo.info[_FULL_SIZE] = stored[::-1] if turned else stored
    return photo, alpha


def full_size(photo: Image) -> tuple[int, int]:
    """(width, height) in pixels of the upright photo that `load_image` read; of any other image its own."""
    return photo.info.get(_FULL_SIZE, photo.size)


def _reduction(width: int, height: int) -> int:
    """The least power of two by which both sides are divided to come into the budget."""
    factor = 1
    while width * height > PIXEL_BUDGET * factor**2:
        factor *= 2
    return factor


def _reduced(image: Image) -> Image:
    factor = _reduction(*image.size)
    if factor == 1:
        return image
    smaller = image.reduce(factor)
    smaller.info = image.info
    return smaller


def resize_and_crop(image: Image, width: int, height: int | None = None) -> tuple[Image, SizeConditioning]:
    """Scale an image (Lanczos, antialiased) to cover `width` x `height` pixels and cut its middle; a square without
    `height`.

    A mask (mode L, of its photo's size) is cut as its photo is, and averaged over areas: Lanczos would ring past the
    thing's edge.
    """
    from PIL.Image import Resampling

    resampling = Resampling.BOX if image.mode == "L" else Resampling.LANCZOS
    height = width if height is None else height
    scale = max(width / image.width, height / image.height)
    whole_width, whole_height = (
        max(width, round(image.width * scale)),
        max(height, round(image.height * scale)),
    )
    left, top = (whole_width - width) // 2, (whole_height - height) // 2
    # The crop's box in the photo's own pixels: only the crop is computed, so that a panorama
    # cannot blow up the memory. The filter still sees the pixels outside the box.
    across, down = image.width / whole_width, image.height / whole_height
    box = (left * across, top * down, (left + width) * across, (top + height) * down)
    crop = image.resize((width, height), resampling, box=box)
    original = full_size(image)[::-1]
    return crop, SizeConditioning(original, (top, left), (height, width))


@contextlib.contextmanager
def _undisturbed_pillow() -> Iterator[None]:
    """Put our own limits in place of Pillow's, and keep its warnings from the terminal."""
    from PIL import Image, PngImagePlugin

    ours: list[tuple[Any, str, Any]] = [
        (Image, "MAX_IMAGE_PIXELS", None),
        (PngImagePlugin, "MAX_TEXT_CHUNK", PROFILE_LIMIT),
    ]
    with _pillow_globals, warnings.catch_warnings(), contextlib.ExitStack() as stack:
        warnings.simplefilter("ignore")
        for module, name, limit in ours:
            stack.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, limit)
        yield


@contextlib.contextmanager
def _stream(path: Path) -> Iterator[BinaryIO]:
    """The file's content, of a PNG what its pixels need."""
    try:
        with opened(path, limit=MAX_BYTES, error=ConceptError) as stream:
            is_png = stream.read(len(SIGNATURE)) == SIGNATURE
            stream.seek(0)
            yield pixels_only(stream.read()) if is_png else stream
    except FileNotFoundError:
        raise ConceptError(f"{path} does not exist; check the path") from None
    except PermissionError:
        raise ConceptError(f"{path} may not be read; change its permissions, or remove it") from None
    except OSError as error:
        raise ConceptError(f"{path} cannot be read ({error.strerror or error}); remove it") from None


def _opened(path: Path, stream: BinaryIO) -> Image:
    from PIL import Image

    try:
        if stream.read(8)[4:] == _BOXES:
            _learn_heif()
        stream.seek(0)
        return Image.open(stream, formats=_FORMATS)
    except Exception:
        stream.seek(0)
        raise ConceptError(f"{path} {_what_it_is(stream.read(512))}") from None


@functools.cache
def _learn_heif() -> None:
    """HEIC is what phones store; Pillow reads AVIF by itself. libheif turns it upright, as its boxes ask."""
    import pillow_heif

    pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)


def _what_it_is(head: bytes) -> str:
    """Why Pillow does not know this file, and the remedy, from its first bytes."""
    if not head:
        return "is empty (0 bytes); copy it again from its source, or remove it"
    if head[4:8] == _BOXES:
        return "is a video, or a HEIC or AVIF image that is damaged; convert it to JPEG or PNG, or remove it"
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n", b"RIFF", b"BM", b"II*\0", b"MM\0*")):
        return "is damaged from its first bytes on; copy it again from its source, or remove it"
    if all(byte >= 32 or byte in b"\t\n\r\f" for byte in head):
        return "is a text file, not an image; remove it or give it its right name"
    return "is not an image of a known format; convert it to JPEG or PNG, or remove it"


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ConceptError(
            f"{path} has {width} x {height} pixels, above the limit of {MAX_PIXELS // 10**6} megapixels; "
            "scale it down (training looks at about one megapixel)"
        )
    if min(width, height) < MIN_SIDE:
        raise ConceptError(
            f"{path}: {width} x {height} pixels is too small to learn from; "
            f"use a photo of at least {MIN_SIDE} pixels a side, better of the training resolution"
        )


def _upright(image: Image) -> Image:
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF says nothing about the orientation; the pixels are sound
        return image


def _alpha(image: Image) -> Image | None:
    if not image.has_transparency_data or image.mode.startswith("I"):
        return None
    return _reduced(image.convert("RGBA").getchannel("A"))


def _to_rgb(path: Path, image: Image) -> Image:
    from PIL import Image as Pillow

    profile = image.info.get("icc_profile")
    try:
        if image.mode.startswith("I"):
            image = _from_16_bits(image)
        if image.has_transparency_data:
            layer = image.convert("RGBA")
            image = Pillow.alpha_composite(Pillow.new("RGBA", layer.size, "white"), layer).convert("RGB")
        elif image.mode in ("1", "L", "P"):
            image = image.convert("RGB")
        elif image.mode not in ("RGB", "CMYK"):
            raise ValueError(f"its pixels are of mode {image.mode}")
        return _to_srgb(image, profile)
    except ValueError as error:
        raise ConceptError(
            f"{path} cannot be turned into 8-bit RGB ({error}); save it as an ordinary JPEG or PNG"
        ) from None


def _from_16_bits(image: Image) -> Image:
    """16-bit grey to 8 bits by scaling; Pillow's own conversion clips at 255, which is white."""
    import numpy as np
    from PIL import Image as Pillow

    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError(f"its grey values run from {values.min()} to {values.max()}")
    return Pillow.fromarray(((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8))


def _to_srgb(image: Image, profile: bytes | None) -> Image:
    from PIL import ImageCms

    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if source.profile.xcolor_space.strip() == image.mode:
                srgb = ImageCms.createProfile("sRGB")
                converted = ImageCms.profileToProfile(image, source, srgb, outputMode="RGB")
                assert converted is not None  # None is for in-place conversions only
                return converted
        except (ImageCms.PyCMSError, OSError):
            pass  # a broken profile: take the numbers as they are, as every viewer does
    return image.convert("RGB")


def of_one_color(image: Image) -> bool:
    """Whether nothing is to be seen: in each band no two pixels differ by more than 2 of 255."""
    # Pillow types extrema as of any mode; RGB has a pair for each band.
    return all(high - low <= 2 for low, high in image.convert("RGB").getextrema())  # type: ignore[misc]
