"""Photos held out: which, how many, and that none is learned from all the same."""

from __future__ import annotations

import shutil

import pytest

from coeffdream.data.concept import load_concept
from coeffdream.data.holdout import hold_out
from coeffdream.errors import ConceptError


@pytest.fixture
def album(cat_folder):
    """Six different photos: three, and each turned upside down."""
    from PIL import Image

    for path in sorted(cat_folder.glob("*.png")):
        Image.open(path).rotate(180).save(path.with_name(f"turned-{path.name}"))
    return load_concept(cat_folder)


def _names(photos):
    return [photo.path.name for photo in photos]


@pytest.mark.parametrize("count", [0, 1, 5])
def test_every_photo_is_learned_or_held_out(album, count):
    """Protects the split: none lost, none on both sides, all in their order."""
    split = hold_out(album, count, seed=3)
    assert (len(split.held_out), len(split.learned)) == (count, 6 - count)
    assert _names(split.images) == _names(album.images)
    assert sorted(_names([*split.held_out, *split.learned])) == _names(album.images)


def test_the_seed_chooses(album):
    """The same seed the same photos; over seeds every photo has its turn."""
    chosen = [_names(hold_out(album, 1, seed).held_out)[0] for seed in range(40)]
    assert chosen[7] == _names(hold_out(hold_out(album, 3, 1), 1, 7).held_out)[0]
    assert set(chosen) == set(_names(album.images))


def test_names_do_not_choose(album, tmp_path):
    """A renamed photo stays where it was: the choice is by content."""
    renamed = tmp_path / "cat"
    renamed.mkdir()
    for index, photo in enumerate(reversed(album.images)):
        shutil.copy(photo.path, renamed / f"{index}.png")
    ours, theirs = ({p.sha256 for p in hold_out(c, 2, 5).held_out} for c in (album, load_concept(renamed)))
    assert ours == theirs


@pytest.mark.parametrize("count", [6, 100])
def test_nothing_left_to_learn(album, count):
    """In one line, with the largest number that is possible."""
    with pytest.raises(
        ConceptError,
        match=rf"^--holdout {count} leaves no photo to learn from: .* holds 6 photos; hold out at most 5$",
    ):
        hold_out(album, count, seed=0)


def test_a_copy_is_no_held_out_photo(cat_folder):
    """A photo that is there twice would be learned from while it is held out; held out twice it is not."""
    for name in ("01.png", "02.png"):
        (cat_folder / name).unlink()
    shutil.copy(cat_folder / "00.png", cat_folder / "copy.png")
    with pytest.raises(ConceptError, match=r"holds (00|copy)\.png twice"):
        hold_out(load_concept(cat_folder), 1, seed=0)
