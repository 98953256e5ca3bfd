"""PNGs as tools write them: megabytes of text and profiles beside sound pixels."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from PIL import Image, ImageCms

from coeffdream.data.images import load_image
from coeffdream.data.png import PROFILE_LIMIT, pixels_only
from coeffdream.errors import ConceptError

WORKFLOW = b'{"id": 1, "type": "KSampler"}, ' * 60_000  # 1.9 MB, above what Pillow takes


def chunk(kind: bytes, content: bytes, *, wrong_checksum: bool = False) -> bytes:
    checksum = zlib.crc32(kind + content) ^ wrong_checksum
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


@pytest.fixture(scope="module")
def plain() -> bytes:
    values = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def same_pixels(plain, tmp_path):
    """Load the plain picture with chunks put before its pixels, or behind them; its pixels must be the same."""

    def check(*chunks: bytes, behind: bool = False) -> None:
        cut = len(plain) - 12 if behind else 33
        path = tmp_path / "photo.png"
        path.write_bytes(plain[:cut] + b"".join(chunks) + plain[cut:])
        assert np.array_equal(np.asarray(load_image(path)), np.asarray(Image.open(io.BytesIO(plain))))

    return check


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize(
    "text",
    [
        chunk(b"zTXt", b"workflow\0\0" + zlib.compress(WORKFLOW)),
        chunk(b"iTXt", b"workflow\0\1\0\0\0" + zlib.compress(WORKFLOW)),
        chunk(b"tEXt", b"prompt\0" + WORKFLOW),
        b"".join(chunk(b"iTXt", b"k%d\0\1\0\0\0" % n + zlib.compress(b"x" * 10**6)) for n in range(70)),
        chunk(b"tEXt", b"Software\0camera", wrong_checksum=True),
        chunk(b"prVt", b"\0" * 5000),
        chunk(b"pHYs", b"wrong length"),
    ],
    ids=["zTXt", "iTXt", "tEXt", "many", "checksum", "private", "malformed"],
)
def test_what_is_beside_the_pixels_costs_no_photo(text, behind, same_pixels):
    """ComfyUI's workflows, Blender's and Photoshop's records, a comment with a wrong checksum."""
    same_pixels(text, behind=behind)


def test_a_large_profile_is_applied(plain, tmp_path, same_pixels):
    """Scanners embed profiles of megabytes: one of sRGB changes nothing, and none is called damage."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes() + bytes(1_300_000)
    same_pixels(chunk(b"iCCP", b"scanner\0\0" + zlib.compress(struct.pack(">I", len(srgb)) + srgb[4:])))


@pytest.mark.parametrize(
    "profile",
    [
        chunk(b"iCCP", b"bomb\0\0" + zlib.compress(bytes(PROFILE_LIMIT + 1))),
        chunk(b"iCCP", b"broken\0\0not packed"),
        chunk(b"iCCP", b"no end of the name"),
        chunk(b"iCCP", b"sound\0\0" + zlib.compress(b"x"), wrong_checksum=True),
    ],
    ids=["unpacks beyond the limit", "not packed", "cut", "checksum"],
)
def test_a_profile_that_cannot_be_used_is_left_out(profile, same_pixels):
    """As viewers do; nothing beyond the limit is ever unpacked."""
    same_pixels(profile)


def test_transparency_and_orientation_are_kept(tmp_path):
    """They say how the pixels look: a cut-out is laid on white, a turned photo is turned."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("P", (40, 32)).save(tmp_path / "a.png", transparency=0, exif=exif)
    image = load_image(tmp_path / "a.png")
    assert image.size == (32, 40)
    assert (np.asarray(image) == 255).all()


@pytest.mark.parametrize("kept", [20, 33, 60, 0.5, -5])
def test_a_file_cut_short_stays_so(kept, plain, tmp_path):
    """What is missing is said, not made up."""
    end = int(len(plain) * kept) if isinstance(kept, float) else kept
    (tmp_path / "cut.png").write_bytes(plain[:end])
    if kept == -5:  # all the pixels are there
        load_image(tmp_path / "cut.png")
        return
    with pytest.raises(ConceptError, match=r"cut\.png is damaged"):
        load_image(tmp_path / "cut.png")


@given(some.binary(max_size=300), some.integers(0, 3000), some.integers(0, 255))
@settings(max_examples=300)
def test_any_bytes_are_read_or_refused(plain, tmp_path_factory, extra, at, byte):
    """A picture with bytes put in and one byte changed loads, or is refused with ConceptError."""
    data = bytearray(plain)
    data[at % len(data)] = byte
    data[at % len(data) : at % len(data)] = extra
    pixels_only(bytes(data))
    path = tmp_path_factory.getbasetemp() / "any.png"
    path.write_bytes(data)
    message = "any.png"
    try:
        load_image(path)
    except ConceptError as error:
        message = str(error)
    assert "any.png" in message
