"""Photos as people have them: every trap of a loader is made here and must come out right."""

from __future__ import annotations

import importlib.util
import io
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from coeffdream.data.images import full_size, load_image

spec = importlib.util.spec_from_file_location("pictures", Path(__file__).with_name("pictures.py"))
pictures = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pictures)
scene, pixels, png = pictures.scene, pictures.pixels, pictures.png

DREAMBOOTH = Path(__file__).parents[2].parent / "shared/data/dreambooth"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(tmp_path: Path, orientation: int) -> None:
    """A phone photo stored turned or mirrored is learned upright."""
    # What a camera of this orientation stores: the inverse of what a viewer does.
    stored = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a.transpose(1, 0, 2), 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation](scene())
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "photo.png"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif)
    assert np.array_equal(pixels(load_image(path)), scene())


@pytest.mark.parametrize("kind", ["heic", "avif"])
@pytest.mark.parametrize("orientation", [1, 3, 5, 6, 8])
def test_a_phone_photo_stands_upright(tmp_path: Path, kind: str, orientation: int) -> None:
    """Turned by a box of the file (HEIC, AVIF) instead of by EXIF alone, and never by both."""
    if kind == "heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(scene(128, 96))
    stored.getexif()[0x0112] = orientation
    stored.save(tmp_path / f"photo.{kind}", exif=exif.tobytes(), quality=95)
    stored.info["exif"] = exif.tobytes()
    upright = ImageOps.exif_transpose(stored)
    loaded = load_image(tmp_path / f"photo.{kind}")
    assert loaded.size == full_size(loaded) == upright.size
    assert np.abs(pixels(loaded) - pixels(upright)).mean() < 6


@pytest.mark.parametrize("kind", ["heic", "avif"])
def test_a_phone_photo_keeps_its_colours(tmp_path: Path, kind: str) -> None:
    """Display P3 is in the file's profile here too; half transparency is laid on white."""
    if kind == "heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    profile = ImageCms.ImageCmsProfile(io.BytesIO(wide_gamut_profile())).tobytes()
    path = tmp_path / f"phone.{kind}"
    Image.new("RGB", (64, 64), (100, 160, 100)).save(path, icc_profile=profile, quality=95)
    green = pixels(load_image(path))[32, 32]
    assert green[0] < 96
    assert green[1] > 157
    Image.new("RGBA", (64, 64), (200, 0, 0, 128)).save(tmp_path / f"clear.{kind}", quality=95)
    assert np.abs(pixels(load_image(tmp_path / f"clear.{kind}"))[32, 32] - (227, 127, 127)).max() <= 6


def test_damaged_exif_does_not_cost_the_photo(tmp_path: Path) -> None:
    """Unreadable EXIF leaves the pixels as they are instead of refusing them."""
    path = tmp_path / "photo.jpg"
    Image.fromarray(scene()).save(path, exif=b"Exif\x00\x00garbage that is no TIFF header", quality=95)
    assert np.abs(pixels(load_image(path)) - scene()).mean() < 4


def test_rgba_is_laid_on_white(tmp_path: Path) -> None:
    """A cut-out keeps no black ground, and half transparency is blended."""
    rgba = np.zeros((40, 60, 4), np.uint8)
    rgba[:, 20:40] = (200, 0, 0, 128)
    rgba[:, 40:] = (10, 20, 30, 255)
    path = tmp_path / "cutout.png"
    Image.fromarray(rgba).save(path)
    image = pixels(load_image(path))
    assert (image[:, :20] == 255).all()
    assert np.abs(image[:, 20:40] - (227, 127, 127)).max() <= 1
    assert (image[:, 40:] == (10, 20, 30)).all()


def test_grey_with_alpha_is_laid_on_white(tmp_path: Path) -> None:
    """LA goes through the same white ground as RGBA."""
    grey = np.zeros((40, 60, 2), np.uint8)
    grey[:, 30:] = (90, 255)
    path = tmp_path / "grey.png"
    Image.fromarray(grey, "LA").save(path)
    image = pixels(load_image(path))
    assert (image[:, :30] == 255).all()
    assert (image[:, 30:] == 90).all()


def test_16_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    """A 16-bit PNG keeps its tones; Pillow's plain conversion would be white nearly everywhere."""
    values = np.linspace(0, 65535, 64 * 48).astype(np.uint16).reshape(48, 64)
    path = tmp_path / "deep.png"
    Image.fromarray(values).save(path)
    image = pixels(load_image(path))
    assert np.abs(image - np.rint(values / 257)[..., None]).max() == 0


def test_16_bit_colour_is_scaled(tmp_path: Path) -> None:
    """A 16-bit RGB PNG, which Pillow cannot write but cameras' converters do."""
    values = (np.arange(48 * 64 * 3, dtype=np.uint32) * 7 % 65536).astype(">u2").reshape(48, 64, 3)
    path = tmp_path / "deep.png"
    path.write_bytes(png(64, 48, 16, 2, b"".join(b"\0" + row.tobytes() for row in values)))
    assert np.abs(pixels(load_image(path)) - values / 257).max() <= 1


def test_32_bit_grey_within_16_bits_is_scaled(tmp_path: Path) -> None:
    """Integer TIFFs from microscopes and old converters hold 16-bit tones in 32 bits."""
    values = np.full((40, 40), 32768, np.int32)
    path = tmp_path / "deep.tif"
    Image.fromarray(values).save(path)
    assert (pixels(load_image(path)) == 128).all()


def test_palette(tmp_path: Path) -> None:
    """Palette indices become their colours."""
    path = tmp_path / "palette.png"
    picture = Image.fromarray(scene()).quantize(32)
    picture.save(path)
    assert np.array_equal(pixels(load_image(path)), np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize("transparency", [0, bytes([0, 255])])
def test_palette_with_transparency_is_laid_on_white(tmp_path: Path, transparency: int | bytes) -> None:
    """Both ways a PNG palette marks a colour as transparent."""
    picture = Image.new("P", (40, 40), 0)
    picture.putpalette([0, 0, 0, 50, 60, 70])
    picture.paste(1, (20, 0, 40, 40))
    path = tmp_path / "palette.png"
    picture.save(path, transparency=transparency)
    image = pixels(load_image(path))
    assert (image[:, :20] == 255).all()
    assert (image[:, 20:] == (50, 60, 70)).all()


@pytest.mark.parametrize("mode", ["L", "1"])
def test_grey_and_bilevel(tmp_path: Path, mode: str) -> None:
    """Black-and-white scans become RGB with equal channels."""
    path = tmp_path / "grey.png"
    picture = Image.fromarray(scene()).convert(mode)
    picture.save(path)
    assert np.array_equal(pixels(load_image(path)), np.asarray(picture.convert("RGB")))


def test_cmyk_jpeg(tmp_path: Path) -> None:
    """A print shop's JPEG comes out in its colours, not inverted."""
    picture = Image.new("CMYK", (64, 64), (0, 255, 255, 0))
    path = tmp_path / "print.jpg"
    picture.save(path, quality=95)
    red = pixels(load_image(path)).mean((0, 1))
    assert red[0] > 240
    assert red[1:].max() < 15


def test_embedded_colour_profile_is_applied(tmp_path: Path) -> None:
    """A wide-gamut photo keeps its colours: the same numbers mean more saturated colours there."""
    linear_like = ImageCms.ImageCmsProfile(io.BytesIO(wide_gamut_profile()))
    path = tmp_path / "phone.png"
    Image.new("RGB", (40, 40), (100, 160, 100)).save(path, icc_profile=linear_like.tobytes())
    loaded = load_image(path)
    green = pixels(loaded)[0, 0]
    assert green[0] < 95
    assert green[1] > 158
    assert not loaded.info


def test_srgb_and_broken_profiles_change_nothing(tmp_path: Path) -> None:
    """An sRGB profile costs no rounding, a broken one does not cost the photo."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for number, profile in enumerate([srgb, b"not a profile"]):
        path = tmp_path / f"{number}.png"
        Image.fromarray(scene()).save(path, icc_profile=profile)
        assert np.array_equal(pixels(load_image(path)), scene())


def test_wrong_extension_of_a_real_image_is_no_obstacle(tmp_path: Path) -> None:
    """A PNG called .jpg is common and readable."""
    path = tmp_path / "photo.jpg"
    Image.fromarray(scene()).save(path, "PNG")
    assert np.array_equal(pixels(load_image(path)), scene())


def test_multi_picture_jpeg_gives_its_first_picture(tmp_path: Path) -> None:
    """Phones write MPO files under the name .jpg, with a depth map or preview behind the photo."""
    path = tmp_path / "phone.jpg"
    photo = Image.fromarray(scene())
    photo.save(path, "MPO", save_all=True, append_images=[Image.new("RGB", (64, 48))], quality=95)
    assert np.abs(pixels(load_image(path)) - scene()).mean() < 4


def test_pillow_warnings_do_not_escape(tmp_path: Path) -> None:
    """Pillow's complaints about a usable file would confuse; they are errors in this suite."""
    exif = Image.Exif()
    exif[0x0112] = 1
    damaged = bytearray(exif.tobytes())
    damaged[-6:] = b"\xff" * 6
    path = tmp_path / "photo.jpg"
    Image.fromarray(scene()).save(path, exif=bytes(damaged))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_image(path).size == (64, 48)


@pytest.mark.skipif(not DREAMBOOTH.is_dir(), reason="needs DreamBooth's photos in shared/data/dreambooth")
def test_real_photos_load_as_pillow_shows_them() -> None:
    """On ordinary photos nothing is altered."""
    paths = sorted(DREAMBOOTH.glob("dog/*.jpg"))
    assert len(paths) == 5
    for path in paths:
        with Image.open(path) as plain:
            assert np.array_equal(pixels(load_image(path)), np.asarray(plain.convert("RGB")))


def wide_gamut_profile() -> bytes:
    """A minimal ICC v2 matrix profile with primaries wider than sRGB's (ProPhoto-like), gamma 1.8."""

    def fixed(value: float) -> bytes:
        return struct.pack(">i", round(value * 65536))

    def xyz(x: float, y: float, z: float) -> bytes:
        return b"XYZ \0\0\0\0" + fixed(x) + fixed(y) + fixed(z)

    text = b"wide gamut for a test\0"
    description = b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(4 + 4 + 2 + 1 + 67)
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(2.2 * 256))
    tags = {
        b"desc": description,
        b"cprt": b"text\0\0\0\0none\0",
        b"wtpt": xyz(0.9642, 1.0, 0.8249),
        b"rXYZ": xyz(0.7977, 0.2880, 0.0),
        b"gXYZ": xyz(0.1352, 0.7119, 0.0),
        b"bXYZ": xyz(0.0313, 0.0001, 0.8249),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    header = struct.pack(">I4sI4s4s4s", start + len(body), b"\0\0\0\0", 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    header += bytes(12) + b"acsp" + bytes(28) + fixed(0.9642) + fixed(1.0) + fixed(0.8249)
    return header.ljust(128, b"\0") + table + body
