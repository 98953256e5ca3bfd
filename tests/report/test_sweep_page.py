"""What the page of a run says of its sweep."""

from __future__ import annotations

import dataclasses

import pytest
from PIL import Image

from coeffdream.records.encoders import EncoderRecord, EncoderRecords
from coeffdream.records.scores import PhotoHash
from coeffdream.records.sweep import Levels, Measured, Shares, SweepRecord, SweptPoint, write_sweep
from coeffdream.report.page import write_report

ENCODER = EncoderRecord("toybox CLIP", "clip", "", "c" * 64, "", {}, 96, {})


def point(step: int, lora: float = 1.0) -> SweptPoint:
    measured = Measured(step, lora, 1.0, 0.6, 0.4, 0.1, f"{step:06d}", f"{step:06d}-unrelated", 0.5, 0.2)
    return SweptPoint(measured, Shares(0.5, 0.9, 0.8), step == 20)


SWEEP = SweepRecord(
    created="2026-11-21T06:00:00.000000+00:00",
    run="cat-coeff-lora",
    class_noun="cat",
    prompts=["a <V> CLASS in the snow"],
    unrelated_prompts=["a clock"],
    images_per_prompt=1,
    seed=0,
    sampling_steps=20,
    guidance_scale=3.0,
    size=64,
    embedded=True,
    encoders=EncoderRecords(ENCODER, ENCODER),
    references=[PhotoHash("00.png", "ab")],
    held_out=False,
    levels=Levels(0.4, 0.8, 0.5, 0.3, 0.6),
    points=[point(20), point(40)],
    kept=0,
    why="step 20 is as good as any",
)


@pytest.fixture
def page(builder, reading):
    """The page of a run with this sweep, with its picture or without."""

    def read(sweep: SweepRecord, *, picture: bool = True):
        run = builder.trained().logged().folder
        write_sweep(run, sweep)
        if picture:
            Image.new("RGB", (960, 460), "white").save(run.sweep.with_suffix(".png"))
        return reading(write_report(run)[0].read_text(encoding="utf-8"))

    return read


def test_what_to_keep_and_why(page):
    """The reason in words, every point with its numbers, and the picture that the sweep wrote."""
    seen = page(SWEEP)
    assert "sweep" in seen.sections
    assert "Keep step 20 is as good as any." in seen.text
    assert "20 (keep)" in seen.text
    assert "40 (keep)" not in seen.text
    for words in ("0.600", "0.36", "50 %", "Embedded scorers", "overestimates"):
        assert words in seen.text
    assert "sweep.png" in [each.get("href") for each in seen.all("a", "shot")]


def test_none_to_keep_and_no_picture(page):
    """Both are said or left out without a word too many."""
    seen = page(
        dataclasses.replace(SWEEP, kept=None, why="nothing was learned", held_out=True), picture=False
    )
    assert "Keep none: nothing was learned." in seen.text
    assert "(keep)" not in seen.text
    assert "held out of the training" in seen.text
    assert "sweep.png" not in [each.get("href") for each in seen.all("a")]


def test_strengths_have_columns_when_there_are_several(page):
    """They say nothing when all are 1."""
    assert "LoRA ×" not in page(SWEEP).text
    assert "LoRA ×" in page(dataclasses.replace(SWEEP, points=[point(20), point(20, 0.5)])).text
