"""Files that are no photo, half a photo, or more than a machine holds: each gets one line that says what it is."""

from __future__ import annotations

import importlib.util
import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from coeffdream.data.images import MAX_PIXELS, full_size, load_image, resize_and_crop
from coeffdream.errors import ConceptError

spec = importlib.util.spec_from_file_location("pictures", Path(__file__).with_name("pictures.py"))
pictures = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pictures)
scene, pixels, png = pictures.scene, pictures.pixels, pictures.png


@pytest.mark.parametrize("kind", ["heic", "avif"])
@pytest.mark.parametrize("kept", [0.9, 0.5, 0.02])
def test_a_phone_photo_that_was_cut_short(tmp_path: Path, kind: str, kept: float) -> None:
    """Refused by name, as of any other format."""
    if kind == "heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    path = tmp_path / f"photo.{kind}"
    Image.fromarray(scene(128, 96)).save(path, quality=95)
    path.write_bytes(path.read_bytes()[: round(path.stat().st_size * kept)])
    with pytest.raises(ConceptError, match="damaged"):
        load_image(path)


@pytest.mark.parametrize("values", [np.full((40, 40), 70_000, np.int32), np.full((40, 40), 0.5, np.float32)])
def test_pixels_without_a_known_range_are_refused(tmp_path: Path, values: np.ndarray) -> None:
    """32-bit and float data have no agreed white, so guessing would learn noise."""
    path = tmp_path / "depth.tif"
    Image.fromarray(values).save(path)
    with pytest.raises(ConceptError, match=r"depth\.tif cannot be turned into 8-bit RGB"):
        load_image(path)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
@pytest.mark.parametrize("kept", [0.5, 0.02])
def test_truncated_file_is_named(tmp_path: Path, kind: str, kept: float) -> None:
    """A download that broke off is refused by name, never learned as half grey."""
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    Image.fromarray(noise).save(stream, kind)
    path = tmp_path / f"cut.{kind.lower()}"
    path.write_bytes(stream.getvalue()[: int(len(stream.getvalue()) * kept)])
    with pytest.raises(ConceptError, match=r"cut\.\w+ is damaged.*copy it again") as caught:
        load_image(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"these are my notes\n" * 20, "is a text file, not an image"),
        ("Ein häßlicher Text".encode(), "is a text file, not an image"),
        (b"", "is empty"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "is a video, or a HEIC or AVIF image that is damaged"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "is a video"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n", "is a text file"),
        (bytes(range(256)), "is not an image of a known format"),
    ],
)
def test_what_is_not_an_image_is_told_apart(tmp_path: Path, content: bytes, says: str) -> None:
    """A wrong file under an image's name gets a line that says what it is; no EPS reaches Ghostscript."""
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(ConceptError, match=rf"photo\.jpg {says}"):
        load_image(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    """A path that holds no file gets its own line."""
    with pytest.raises(ConceptError, match="does not exist"):
        load_image(tmp_path / "gone.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ConceptError, match="is a folder"):
        load_image(tmp_path / "folder.png")


def test_tiny_image_is_refused(tmp_path: Path) -> None:
    """Sixteen pixels hold nothing to learn from; thirty-two are the least."""
    path = tmp_path / "icon.png"
    Image.new("RGB", (16, 16)).save(path)
    with pytest.raises(ConceptError, match=r"icon\.png: 16 x 16 pixels is too small to learn from"):
        load_image(path)
    Image.new("RGB", (32, 400)).save(path)
    assert load_image(path).size == (32, 400)


def test_huge_image_is_refused_from_its_header(tmp_path: Path) -> None:
    """A decompression bomb is never decoded, and Pillow's own warning stays inside."""
    path = tmp_path / "bomb.png"
    path.write_bytes(png(30_000, 20_000, 8, 2, b""))
    with pytest.raises(ConceptError, match=r"bomb\.png has 30000 x 20000 pixels, above the limit of 200"):
        load_image(path)


def test_large_images_below_the_limit_are_left_to_us(tmp_path: Path) -> None:
    """Between Pillow's limits and ours (90 to 200 megapixels) no warning and no bomb error escapes."""
    path = tmp_path / "large.png"
    path.write_bytes(png(19_000, 10_000, 1, 0, b"", compress=False))
    assert MAX_PIXELS > 19_000 * 10_000
    limit = Image.MAX_IMAGE_PIXELS
    with pytest.raises(ConceptError, match=r"large\.png is damaged"):  # it has a header and no pixels
        load_image(path)
    assert limit == Image.MAX_IMAGE_PIXELS


class TestBudgets:
    """What a file may cost is known from its size and its header."""

    def test_what_is_no_file(self, tmp_path: Path) -> None:
        """A pipe would be waited for, a device read without end, a loop of links followed for ever."""
        os.mkfifo(tmp_path / "pipe.png")
        (tmp_path / "zero.png").symlink_to("/dev/zero")
        (tmp_path / "loop.png").symlink_to("loop.png")
        for name, says in (("pipe", "is a pipe"), ("zero", "is a device"), ("loop", "Too many levels")):
            with pytest.raises(ConceptError, match=says):
                load_image(tmp_path / f"{name}.png")

    def test_a_file_of_a_terabyte(self, tmp_path: Path) -> None:
        """Told from its size."""
        (tmp_path / "hole.png").write_bytes(b"\x89PNG\r\n\x1a\n")
        os.truncate(tmp_path / "hole.png", 1 << 40)
        with pytest.raises(ConceptError, match="above the limit of 1,073,741,824"):
            load_image(tmp_path / "hole.png")

    @pytest.mark.parametrize("kind", ["JPEG", "PNG"])
    def test_beyond_the_pixel_budget_it_comes_smaller(
        self, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Half the sides at least, the same picture, and the size it has is still known."""
        monkeypatch.setattr("coeffdream.data.images.PIXEL_BUDGET", 200 * 160)
        exif = Image.Exif()
        exif[0x0112] = 6
        picture = Image.fromarray(scene(640, 480))
        picture.save(tmp_path / "large", kind, exif=exif)
        loaded = load_image(tmp_path / "large")
        assert loaded.size == (120, 160)
        assert full_size(loaded) == (480, 640)
        small = picture.resize((160, 120), Image.Resampling.BOX).rotate(-90, expand=True)
        assert np.abs(pixels(loaded) - pixels(small)).mean() < 3
        square, size = resize_and_crop(loaded, 64)
        assert size.original_size == (640, 480)
        assert square.size == (64, 64)

    def test_within_the_budget_nothing_changes(self, tmp_path: Path) -> None:
        """An ordinary photo is decoded whole."""
        Image.fromarray(scene()).save(tmp_path / "a.png")
        loaded = load_image(tmp_path / "a.png")
        assert full_size(loaded) == loaded.size == (64, 48)
