"""The contact sheet shows every image of a set, once, under its prompt."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from PIL import Image

from coeffdream.generation.plan import SetPlan
from coeffdream.generation.sheet import PAPER, contact_sheet
from coeffdream.records.images import ImageRecord

COLOURS = list(itertools.product((0, 45, 90, 135, 180), (0, 45, 90, 135, 180), (10, 60, 110, 160)))


@pytest.fixture
def sheet_of(tmp_path):
    """Images of one colour each, and the sheet made of them."""

    def made(prompts: int, each: int):
        templates = [f"a <V> CLASS number {number}" for number in range(prompts)]
        jobs = SetPlan(templates, class_noun="cat", token="sks", images_per_prompt=each, seed=0)
        records = []
        for job, colour in zip(jobs, COLOURS, strict=False):
            Image.new("RGB", (32, 32), colour).save(tmp_path / job.file)
            records.append(ImageRecord(**vars(job), sha256=""))
        contact_sheet(tmp_path, records, tmp_path / "sheet.jpg", "a title")
        with Image.open(tmp_path / "sheet.jpg") as opened:
            assert opened.format == "JPEG"
            return np.asarray(opened.convert("RGB")).astype(np.int16)

    return made


@pytest.mark.parametrize(
    ("prompts", "each", "size", "cell"),
    [(1, 1, (328, 408), 280), (1, 4, (606, 263), 135), (25, 4, (1770, 1727), 135), (1, 9, (606, 545), 135)],
)
def test_layout(prompts, each, size, cell, sheet_of):
    """Each image covers its cell exactly once, in reading order, and nothing lies over it."""
    sheet = sheet_of(prompts, each)
    assert (sheet.shape[1], sheet.shape[0]) == size
    thin = sheet[::3, ::3]
    corners = []
    for colour in COLOURS[: prompts * each]:
        rows, columns = np.nonzero(np.abs(thin - np.array(colour)).max(axis=-1) <= 8)
        inside = (np.abs(rows - np.median(rows)) < cell / 3) & (
            np.abs(columns - np.median(columns)) < cell / 3
        )
        assert inside.sum() * 9 == pytest.approx(cell * cell, rel=0.06)
        corners.append((round(float(np.median(rows)) / 10), round(float(np.median(columns)))))
    for first in range(0, len(corners), 4):
        block = corners[first : first + min(4, each)]
        assert len({row for row, _ in block}) == 1
        assert block == sorted(block)
    assert len(set(corners)) == prompts * each


def test_captions_are_written(sheet_of):
    """The title above and the prompt below are ink on paper."""
    sheet = sheet_of(1, 4)
    above, below = sheet[:50], sheet[56 + 135 + 6 : 56 + 135 + 6 + 30]
    for band in (above, below):
        assert (band.mean(axis=-1) < 120).sum() > 20
    assert np.abs(sheet[-10:] - np.array(PAPER)).max() <= 6


def test_long_prompt_is_cut(tmp_path):
    """A prompt wider than its block ends in an ellipsis and does not run into the next one."""
    templates = ["<V> CLASS " + "in the deep white snow " * 12]
    [job] = SetPlan(templates, class_noun="cat", token="sks", images_per_prompt=1, seed=0)
    Image.new("RGB", (32, 32), "red").save(tmp_path / job.file)
    contact_sheet(tmp_path, [ImageRecord(**vars(job), sha256="")], tmp_path / "sheet.jpg", "title " * 99)
    with Image.open(tmp_path / "sheet.jpg") as opened:
        sheet = np.asarray(opened.convert("RGB")).astype(np.int16)
    assert np.abs(sheet[:, -12:] - np.array(PAPER)).max() <= 12


@pytest.mark.parametrize(
    "prompt",
    [
        "<V> cat,\nin snow",
        "<V>\r\n\tcat",
        "\n<V> cat\n",
        "<V> \u2028 cat",
        "<V>\x07\x1b[31m cat",
        "<V> \udce9",
        "x" * 10**6,
    ],
)
def test_any_prompt_can_be_captioned(prompt, tmp_path):
    """A line end, a bell or a megabyte in a prompt once failed a set after its last picture was drawn."""
    [job] = SetPlan(["<V> cat"], class_noun="cat", token="sks", images_per_prompt=1, seed=0)
    Image.new("RGB", (32, 32), "red").save(tmp_path / job.file)
    record = dataclasses.replace(ImageRecord(**vars(job), sha256=""), prompt=prompt)
    contact_sheet(tmp_path, [record], tmp_path / "sheet.jpg", f"odd\nname {prompt}")
    with Image.open(tmp_path / "sheet.jpg") as sheet:
        assert sheet.size == (328, 408)
