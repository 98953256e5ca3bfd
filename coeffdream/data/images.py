"""Photos as people have them -> upright 8-bit RGB, and the square that training sees."""

from __future__ import annotations

import contextlib
import io
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from coeffdream.errors import ConceptError

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 200_000_000
MIN_SIDE = 32  # pixels of the shorter side
EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})

# Only these decoders may see the file, whatever its name: Pillow would hand an EPS to Ghostscript.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
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
    """Read a photo as an upright 8-bit RGB image.

    EXIF orientation is applied, transparency is laid on white, 16-bit grey is scaled to 8 bits, and
    an embedded colour profile (CMYK, a phone's Display P3) is converted to sRGB.

    Raises ConceptError, which names the file and the remedy, for a file that is missing, not an
    image, damaged, above 200 megapixels (told from its header, not decoded) or under 32 pixels.
    """
    with _undisturbed_pillow(), _opened(path) as image:
        _check_size(path, *image.size)
        try:
            image.load()
        except Exception as error:  # a damaged file makes Pillow raise nearly anything
            raise ConceptError(
                f"{path} is damaged or cut short ({error}); copy it again from its source, or remove it"
            ) from None
        photo = _to_rgb(path, _upright(image))
    photo.info.clear()  # the profile and EXIF describe the file's pixels, no longer these
    return photo


def resize_and_crop(image: Image, resolution: int) -> tuple[Image, SizeConditioning]:
    """Scale the shorter side to `resolution` pixels (Lanczos, antialiased) and cut the central square."""
    from PIL.Image import Resampling

    scale = resolution / min(image.size)
    width, height = (max(resolution, round(side * scale)) for side in image.size)
    left, top = (width - resolution) // 2, (height - resolution) // 2
    # The crop's box in the photo's own pixels: only the square is computed, so that a panorama
    # cannot blow up the memory. The filter still sees the pixels outside the box.
    across, down = image.width / width, image.height / height
    box = (left * across, top * down, (left + resolution) * across, (top + resolution) * down)
    square = image.resize((resolution, resolution), Resampling.LANCZOS, box=box)
    return square, SizeConditioning((image.height, image.width), (top, left), (resolution, resolution))


@contextlib.contextmanager
def _undisturbed_pillow() -> Iterator[None]:
    """Put our own size limit in place of Pillow's, and keep its warnings from the terminal."""
    from PIL import Image

    with _pillow_globals, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _opened(path: Path) -> Image:
    from PIL import Image

    try:
        return Image.open(path, formats=_FORMATS)
    except FileNotFoundError:
        raise ConceptError(f"{path} does not exist; check the path") from None
    except PermissionError:
        raise ConceptError(f"{path} may not be read; change its permissions, or remove it") from None
    except Exception:
        raise ConceptError(f"{path} {_what_it_is(path)}") from None


def _what_it_is(path: Path) -> str:
    """Why Pillow does not know this file, and the remedy, from its first bytes."""
    if path.is_dir():
        return "is a folder, not an image; give a file"
    with path.open("rb") as stream:
        head = stream.read(512)
    if not head:
        return "is empty (0 bytes); copy it again from its source, or remove it"
    if head[4:8] == b"ftyp":
        return "is a HEIC or AVIF image or a video, which is not read; convert it to JPEG or PNG"
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n", b"RIFF", b"BM", b"II*\0", b"MM\0*")):
        return "is damaged from its first bytes on; copy it again from its source, or remove it"
    if all(byte >= 32 or byte in b"\t\n\r\f" for byte in head):
        return "is a text file, not an image; remove it or give it its right name"
    return "is not an image of a known format; convert it to JPEG or PNG, or remove it"


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
    return all(high - low <= 2 for low, high in image.convert("RGB").getextrema())  # type: ignore[misc]
