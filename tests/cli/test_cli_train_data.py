"""What `train` says of held-out photos, buckets and masks, and how it refuses what cannot be."""

from __future__ import annotations

import json

import pytest


@pytest.mark.parametrize("count", [3, 50])
def test_a_holdout_that_leaves_no_photo(count, teach, tmp_path):
    """One line, status 2, before anything is loaded or written."""
    answer = teach("--holdout", count)
    assert answer.status == 2
    [line] = answer.complaint
    assert f"--holdout {count} leaves no photo to learn from" in line
    assert "at most 2" in line
    assert not (tmp_path / "runs").exists()


def test_a_masked_loss_without_masks(teach, tmp_path):
    """The photos that lack one are named."""
    answer = teach("--masked-loss")
    assert answer.status == 2
    [line] = answer.complaint
    assert "no masks for 00.png, 01.png, 02.png" in line
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_says_what_is_held_out_and_how_photos_are_cut(teach):
    """Before an hour is spent on it."""
    answer = teach("--holdout", 1, "--buckets", "--resolution", 512, "--seed", 4, "--dry-run")
    assert answer.status == 0, answer.err
    assert "held out, to score against: 0" in answer.err + answer.out
    assert "2 photos to learn from" in answer.err + answer.out
    assert "cut to buckets: " in answer.err + answer.out
    assert "3 of 3 photos are smaller than their bucket" in " ".join(answer.err.split())


def test_the_average_is_named(teach, tmp_path):
    """What was saved is not what training ended with."""
    answer = teach("--ema", 0.5, "--name", "mine")
    assert answer.status == 0, answer.err
    assert "adapter (the average of --ema)" in " ".join((answer.err + answer.out).split())
    assert json.loads((tmp_path / "runs" / "mine" / "run.json").read_text())["config"]["ema"] == 0.5


def test_a_machine_with_several_cards(cli, tiny_base, cat_folder, monkeypatch):
    """One is used, and how all of them would train one run is said; a device that was named is that one."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    options = [
        "--base",
        tiny_base,
        "--concept",
        cat_folder,
        "--steps",
        1,
        "--sample-every",
        0,
        "--batch-size",
        3,
    ]
    told = cli("train", *options).err
    assert "one of 4 cards is used" in told
    assert "accelerate launch --multi_gpu --num_processes 4 -m coeffdream train ... --batch-size 4" in told
    assert "cards" not in cli("train", *options, "--device", "cpu", "--name", "other").err
