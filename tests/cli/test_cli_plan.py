"""`--dry-run` by phase, and `train --fit`."""

from __future__ import annotations

import json

import pytest


def plan(answer):
    assert answer.status == 0, answer.err
    return json.loads(answer.out)


def test_a_dry_run_tells_every_phase(cli, cat_folder, tiny_base, tmp_path):
    """Of a card too, where there is none, and names the largest; what pictures cost in time is told."""
    words = ("train", "--dry-run", "--concept", cat_folder, "--base", tiny_base, "--device", "cuda")
    memory = (made := plan(cli(*words, "--json")))["memory_bytes"]
    assert [each["name"] for each in memory["phases"]] == ["load", "encode", "sample pictures", "step"]
    largest = max(memory["phases"], key=lambda each: each["total"])
    assert (memory["peak"], memory["total"]) == (largest["name"], largest["total"])
    assert made["config"]["precision"] == "bf16"
    said = cli(*words).err
    assert f"  {memory['peak']} " in next(line for line in said.splitlines() if line.endswith("<- the peak"))
    assert "for 6 pictures along the way" in said
    assert not (tmp_path / "runs").exists()


def test_a_training_says_what_its_pictures_cost(teach):
    """Before its first step, in the words of the dry run; nothing where there are none."""
    planned, trained, without = (
        [line for line in teach(*words).err.splitlines() if "pictures along the way (" in line]
        for words in (["--sample-every", 2, "--dry-run"], ["--sample-every", 2], [])
    )
    assert planned == trained
    assert len(trained) == 1
    assert not without


def test_what_fits_is_written_as_used(teach, cli, tmp_path):
    """The run says what was chosen, and goes on with it; --fit is not asked for again."""
    answer = teach("--fit", 4, "--batch-size", 2, "--gradient-checkpointing")
    assert answer.status == 0, answer.err
    assert "--fit 4: nothing has to be turned down" in answer.err
    [run] = [each for each in (tmp_path / "runs").iterdir() if not each.is_symlink()]
    config = json.loads((run / "run.json").read_text())["config"]
    chosen = {
        name: config[name] for name in ("gradient_checkpointing", "batch_size", "offload", "vae_tiling")
    }
    assert chosen == {
        "gradient_checkpointing": True,
        "batch_size": 2,
        "offload": "none",
        "vae_tiling": False,
    }
    refused = cli("train", "--resume", run.name, "--fit", 4)
    assert refused.complaint == ["error: --resume takes its options from the run; leave --fit out"]
    assert cli("train", "--resume", run.name, "--steps", 3).status == 0


@pytest.mark.parametrize("size", ["0", "-1", "nan", "inf"])
def test_no_memory_at_all(size, teach):
    """A size that is none is refused before anything is looked at."""
    answer = teach(f"--fit={size}")
    assert answer.status == 2
    assert answer.complaint == [
        f"error: --fit {float(size):g} must be a positive number of gigabytes, such as 8"
    ]


def test_nothing_that_fits(teach, tmp_path):
    """One line, exit status 2, and nothing written."""
    answer = teach("--fit", 0.5)
    assert answer.status == 2
    assert "at the least" in answer.complaint[0]
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_of_drawing(cli, tiny_base, tmp_path):
    """Load, encode, draw and decode; no picture and no run is made."""
    words = (
        "generate",
        "a cat",
        "--plain",
        "--no-adapter",
        "--base",
        tiny_base,
        "--class",
        "cat",
        "--dry-run",
    )
    made = plan(cli(*words, "--json"))
    assert [each["name"] for each in made["phases"]] == ["load", "encode", "draw", "decode"]
    assert made["pictures"] == 4
    assert "would draw 4 pictures of 32 pixels in 2 steps each" in cli(*words).err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("more", "pictures"), [((), 4), (("--floor",), 8)])
def test_a_floor_is_drawn_too(more, pictures, cli, run_of):
    """Twice the pictures is twice the hours on a real base."""
    run = run_of()
    told = cli(
        "generate", "<V> cat in snow", "--runs", run.path.parent, "--run", run.path.name, *more, "--dry-run"
    )
    assert f"would draw {pictures} pictures" in told.err
