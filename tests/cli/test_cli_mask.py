"""`coeffdream mask`: masks beside photos, from what a model is sure of."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from coeffdream.data.concept import load_concept
from coeffdream.data.masks import load_mask


class Known:
    """In place of a segmenter: sure of the left quarter of every photo, a little of the next, and of nothing else."""

    def __init__(self, model: str | None = None, *, device: str = "cpu") -> None:
        self.asked: list[str] = []
        Known.last = self

    def shares(self, photo: Image.Image, words: str) -> torch.Tensor:
        self.asked.append(words)
        found = torch.zeros(photo.height, photo.width)
        found[:, : photo.width // 2] = 0.2
        found[:, : photo.width // 4] = 0.9
        return found


@pytest.fixture
def known(monkeypatch) -> type[Known]:
    from coeffdream.metrics import segmenter

    monkeypatch.setattr(segmenter, "Segmenter", Known)
    return Known


def white(photo: Path) -> float:
    """The share of a photo that its mask marks."""
    return (np.asarray(load_mask(photo)) > 127).mean()


def test_every_photo_gets_a_mask_and_a_picture_shows_them(cli, known, cat_folder) -> None:
    """The concept can then be learned with --masked-loss; the noun is what is looked for."""
    answer = cli("mask", cat_folder, "--class", "tabby cat", "--json")
    assert answer.status == 0, answer.err
    photos = [image.path for image in load_concept(cat_folder).images]
    assert known.last.asked == ["tabby cat"] * len(photos)
    assert [round(white(photo), 2) for photo in photos] == [0.25] * len(photos)
    load_concept(cat_folder).check_masks()
    told = json.loads(answer.out)
    assert [each["mask"] for each in told["masks"]] == [f"{photo.stem}.mask.png" for photo in photos]
    assert {round(each["surest"], 2) for each in told["masks"]} == {0.9}
    with Image.open(told["picture"]) as picture:
        assert picture.format == "JPEG"
    assert "next: coeffdream train --concept" in answer.err
    assert "--masked-loss" in answer.err


def test_a_mask_that_is_there_stays_unless_asked(cli, known, cat_folder) -> None:
    """One drawn by hand is worth more than one that a model made."""
    first, *others = [image.path for image in load_concept(cat_folder).images]
    with Image.open(first) as photo:
        Image.new("L", photo.size, 255).save(first.with_name(first.stem + ".mask.png"))
    assert cli("mask", cat_folder).status == 0
    assert [round(white(photo), 2) for photo in (first, *others)] == [1.0, *[0.25] * len(others)]
    told = cli("mask", cat_folder)
    assert told.status == 0
    assert "have masks; --again makes them anew" in told.err
    assert cli("mask", cat_folder, "--again", "--threshold", "0.1").status == 0
    assert [round(white(photo), 2) for photo in (first, *others)] == [0.5] * (1 + len(others))


def test_a_thing_that_is_not_found_leaves_nothing(cli, known, cat_folder, contents) -> None:
    """Masks of some photos alone would be refused by every other command."""
    before = contents(cat_folder)
    answer = cli("mask", cat_folder, "--threshold", "0.95")
    assert answer.status == 2
    assert "was found in" in answer.complaint[-1]
    assert "(at most 0.90 sure)" in answer.err
    assert "name it otherwise with --class, or give a lower --threshold" in answer.err
    assert contents(cat_folder) == before


def test_a_mask_of_nearly_all_is_warned_of(cli, monkeypatch, known, cat_folder) -> None:
    """It leaves no background to tell the thing from."""
    monkeypatch.setattr(Known, "shares", lambda self, photo, words: torch.ones(photo.height, photo.width))
    answer = cli("mask", cat_folder)
    assert answer.status == 0
    assert "marks 100 % of its photo" in answer.err


def test_without_a_network_one_line_says_what_to_fetch(
    cli, cat_folder, contents, monkeypatch, tmp_path
) -> None:
    """And nothing is written."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    before = contents(cat_folder)
    answer = cli("mask", cat_folder)
    assert answer.status == 2
    assert (
        "config.json and model.safetensors and preprocessor_config.json of CIDAS/clipseg-rd64-refined"
        in answer.complaint[0]
    )
    assert "--model FOLDER" in answer.complaint[0]
    assert contents(cat_folder) == before


@pytest.mark.parametrize("threshold", ["0", "1", "nan"])
def test_a_threshold_that_marks_all_or_nothing_is_refused(cli, cat_folder, threshold) -> None:
    """Both would make masks that say nothing."""
    answer = cli("mask", cat_folder, "--threshold", threshold)
    assert answer.status == 2
    assert "must be above 0 and below 1" in answer.complaint[0]
