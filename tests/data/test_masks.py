"""Masks as people make them: beside the photo or in its alpha channel, and turned and cut as the photo is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import coeffdream.data.images as images_module
from coeffdream.data.concept import load_concept
from coeffdream.data.images import load_image, resize_and_crop
from coeffdream.data.masks import check_shown, is_mask, load_mask
from coeffdream.data.record import concept_record
from coeffdream.errors import ConceptError
from coeffdream.records.files import sha256_of_file


def square(size: tuple[int, int] = (64, 48), box: tuple[int, int, int, int] = (8, 4, 24, 20)) -> Image.Image:
    """Mode L: white in `box` (left, top, right, bottom), black elsewhere."""
    mask = Image.new("L", size)
    mask.paste(255, box)
    return mask


def photo(path: Path, mask: Image.Image | None = None, size: tuple[int, int] = (64, 48)) -> Path:
    """A photo with noise in it; `mask` goes in as its alpha channel."""
    noise = np.random.default_rng(len(path.stem)).integers(0, 256, (size[1], size[0], 3), np.uint8)
    image = Image.fromarray(noise)
    if mask is not None:
        image.putalpha(mask)
    image.save(path)
    return path


def mask_in(path: Path) -> Image.Image:
    mask = load_mask(path)
    assert mask is not None
    return mask


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder called cat with two photos, 0.png and 1.jpg, and a mask of each."""
    folder = tmp_path / "cat"
    folder.mkdir()
    for name in ("0.png", "1.jpg"):
        photo(folder / name)
        square().save(folder / f"{name[0]}.mask.png")
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(ConceptError) as caught:
        load_concept(folder)
    return str(caught.value)


def test_a_mask_is_no_photo(folder: Path) -> None:
    """The files beside the photos are their masks: not learned from, not remarked on, named by their hash."""
    concept = load_concept(folder)
    assert [image.path.name for image in concept.images] == ["0.png", "1.jpg"]
    assert concept.warnings == ()
    for image in concept.images:
        file = folder / f"{image.path.stem}.mask.png"
        assert is_mask(file)
        assert not is_mask(image.path)
        assert image.mask_sha256 == sha256_of_file(file)
        mask = image.load_mask()
        assert mask is not None
        assert np.array_equal(mask, square())
    concept.check_masks()
    assert [each.mask_sha256 for each in concept_record(concept).images] == [
        image.mask_sha256 for image in concept.images
    ]


def test_an_alpha_channel_is_a_mask_and_the_file_beside_it_comes_first(tmp_path: Path) -> None:
    """A cut-out photo needs no second file; where there is one, it is meant."""
    path = photo(tmp_path / "0.png", square())
    assert np.array_equal(mask_in(path), square())
    square(box=(0, 0, 9, 9)).save(tmp_path / "0.mask.png")
    assert np.array_equal(mask_in(path), square(box=(0, 0, 9, 9)))


@pytest.mark.parametrize("made", ["L", "1", "RGB", "RGBA", "cut-out", "16 bits"])
def test_however_a_mask_was_saved(tmp_path: Path, made: str) -> None:
    """Every segmentation tool's own: grey, black and white, colour, or the thing cut out of its photo."""
    path = photo(tmp_path / "0.png")
    saved = square()
    if made == "cut-out":
        saved = load_image(path)
        saved.putalpha(square())
    elif made == "16 bits":
        saved = Image.fromarray(np.asarray(square()).astype(np.uint16) * 257)
    else:
        saved = saved.convert(made)
    saved.save(tmp_path / "0.mask.png")
    assert np.array_equal(mask_in(path), square())


def test_no_mask(tmp_path: Path) -> None:
    """A photo without one, and one whose alpha channel hides nothing."""
    assert load_mask(photo(tmp_path / "0.jpg")) is None
    assert load_mask(photo(tmp_path / "1.png", Image.new("L", (64, 48), 255))) is None


def test_a_mask_is_turned_with_its_photo(tmp_path: Path) -> None:
    """A phone stores the photo lying down: its alpha is turned with it, and a mask file is of the upright photo."""
    exif = Image.Exif()
    exif[0x0112] = 6  # a viewer turns it by 90 degrees, clockwise
    image = Image.fromarray(np.zeros((48, 64, 3), np.uint8))
    image.putalpha(square())
    image.save(tmp_path / "0.png", exif=exif)
    upright = square().transpose(Image.Transpose.ROTATE_270)
    assert np.array_equal(mask_in(tmp_path / "0.png"), upright)
    upright.save(tmp_path / "0.mask.png")
    assert np.array_equal(mask_in(tmp_path / "0.png"), upright)
    square().save(tmp_path / "0.mask.png")
    with pytest.raises(
        ConceptError, match=r"0\.mask\.png has 64 x 48 pixels and its photo 0\.png, upright, 48 x 64"
    ):
        load_mask(tmp_path / "0.png")


def test_a_mask_is_made_smaller_with_its_photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a photo above the budget of pixels, both come at half size, a JPEG of odd size too."""
    monkeypatch.setattr(images_module, "PIXEL_BUDGET", 2000)
    size = (65, 49)
    for name in ("0.jpg", "1.png"):
        path = photo(tmp_path / name, size=size)
        square(size).save(tmp_path / f"{name[0]}.mask.png")
        assert mask_in(path).size == load_image(path).size
        assert mask_in(path).getbbox() == (4, 2, 12, 10)
    cut_out = photo(tmp_path / "2.png", square(size), size)
    assert mask_in(cut_out).size == load_image(cut_out).size


def test_a_mask_is_cut_as_its_photo_is() -> None:
    """The square of a mask is the mask of the square, and grey only where a pixel is half covered."""
    # 96 x 48 at 24 pixels: halved, and the 12 pixels of each side cut off.
    cut, _ = resize_and_crop(square((96, 48), (24, 0, 40, 16)), 24)
    assert np.array_equal(cut, square((24, 24), (0, 0, 8, 8)))
    half, _ = resize_and_crop(square((48, 48), (0, 0, 9, 48)), 24)
    assert np.asarray(half)[0, :6].tolist() == [255, 255, 255, 255, 128, 0]


def test_a_thing_outside_of_the_square_is_told(tmp_path: Path) -> None:
    """Where the crop leaves nothing of the thing, there is nothing to learn from or to compare with."""
    cut, _ = resize_and_crop(square((96, 48), (0, 0, 8, 48)), 24)
    with pytest.raises(ConceptError, match=r"0\.png: what its mask marks lies outside"):
        check_shown(tmp_path / "0.png", cut)
    check_shown(tmp_path / "0.png", square())


def test_a_mask_of_another_size(folder: Path) -> None:
    """Every mask that does not fit is named, with both sizes, beside the folder's other problems."""
    square((32, 48)).save(folder / "0.mask.png")
    square((64, 32)).save(folder / "1.mask.png")
    said = refusal(folder)
    assert "0.mask.png has 32 x 48 pixels and its photo 0.png, upright, 64 x 48" in said
    assert "1.mask.png has 64 x 32 pixels" in said


def test_empty_masks(folder: Path) -> None:
    """A black mask, and a photo that is transparent all over, mark nothing."""
    Image.new("L", (64, 48)).save(folder / "0.mask.png")
    (folder / "1.jpg").unlink()
    (folder / "1.mask.png").unlink()
    photo(folder / "1.png", Image.new("L", (64, 48)))
    said = refusal(folder)
    assert "0.mask.png is an empty mask, black all over; mark where the thing is, or remove the mask" in said
    assert "1.png is an empty mask, transparent all over" in said


def test_masks_for_some_photos_only(folder: Path) -> None:
    """The photos that lack one are named; an alpha channel does as well."""
    (folder / "1.mask.png").unlink()
    assert "cat has no masks for 1.jpg; put NAME.mask.png beside each photo" in refusal(folder)
    (folder / "1.jpg").unlink()
    photo(folder / "1.png", square())
    load_concept(folder).check_masks()


def test_a_single_cut_out_is_no_reason_to_refuse_the_others(folder: Path) -> None:
    """One PNG with transparency among JPEGs was never meant as a mask: it is learned from as ever, with a word."""
    for path in folder.iterdir():
        path.unlink()
    photo(folder / "0.jpg")
    photo(folder / "1.png", square())
    concept = load_concept(folder)
    [warning] = concept.warnings
    assert "transparency of 1.png is laid on white and is no mask" in warning
    with pytest.raises(ConceptError, match=r"no masks for 0\.jpg"):
        concept.check_masks()


@pytest.mark.parametrize("wrong", ["text", "folder", "link out"])
def test_a_mask_that_is_none(folder: Path, wrong: str) -> None:
    """What is no image, and what leads out of the folder, is refused by its own name."""
    (folder / "0.mask.png").unlink()
    if wrong == "text":
        (folder / "0.mask.png").write_text("the cat is in the middle")
    elif wrong == "folder":
        (folder / "0.mask.png").mkdir()
    else:
        square().save(folder.parent / "elsewhere.png")
        (folder / "0.mask.png").symlink_to(folder.parent / "elsewhere.png")
    assert "0.mask.png" in refusal(folder)


def test_a_mask_of_no_photo_is_remarked_on(folder: Path) -> None:
    """A misspelled name would otherwise go unseen."""
    square().save(folder / "2.mask.png")
    assert load_concept(folder).warnings == ("2.mask.png is not used: no photo has that name",)


def test_a_mask_altered_since(folder: Path) -> None:
    """What is used is what was checked and recorded."""
    concept = load_concept(folder)
    square(box=(0, 0, 9, 9)).save(folder / "0.mask.png")
    with pytest.raises(ConceptError, match=r"0\.mask\.png was altered"):
        concept.images[0].load_mask()
