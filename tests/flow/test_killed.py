"""SIGKILL at random moments: the same command again ends where it would have ended, nothing lost or doubled.

A kill or two of training, generation and eval with all tests; the whole proof, 100 of training, 50 of generation, 20
of eval and 20 of a study, is: pytest -m slow tests/flow/test_killed.py -s
"""

from __future__ import annotations

import json
import shutil
import signal
import time
from typing import Any

import pytest

from coeffdream.data.shipped import shipped
from coeffdream.records.files import read_json


def times(short: int, whole: int) -> Any:
    """A few kills in every run of the tests, all of them where one asks for the slow ones."""
    return pytest.mark.parametrize("kills", [short, pytest.param(whole, marks=pytest.mark.slow)])


@pytest.fixture
def killed(begin, dice):
    """Run a command and kill it at a random moment of the seconds it needs; False when it was faster."""

    def at_random(seconds: float, *arguments: Any) -> bool:
        command = begin(*arguments)
        time.sleep(dice.uniform(0, seconds))
        command.signal(signal.SIGKILL)
        status = command.wait()
        assert status in (-signal.SIGKILL, 0), command.printed
        return status != 0

    return at_random


def score_of(file) -> dict[str, Any]:
    """Scores without what differs from one run of the program to the next."""
    scores = read_json(file)
    del scores["created"], scores["set"]["created"]
    return scores


@times(1, 100)
def test_training(kills, run, killed, trained, tiny_base, cat_folder, tmp_path):
    """Killed while it loads, claims its folder, trains, or writes a checkpoint: the run is the run, bit for bit."""
    runs = tmp_path / "runs"
    options = ["--concept", cat_folder, "--base", tiny_base, "--steps", 16, "--sample-every", 16]
    options += ["--checkpoint-every", 2, "--coeff-dropout", 0.5, "--device", "cpu", "--runs", runs]
    seconds = run("train", *options, "--name", "straight")
    expected = trained(runs / "straight")
    stages = {"begin": 0, "resume": 0, "done": 0}
    for _ in range(kills):
        shutil.rmtree(runs / "victim", ignore_errors=True)
        if not killed(seconds, "train", *options, "--name", "victim"):
            stages["done"] += 1
        elif (runs / "victim" / "run.json").exists():
            stages["resume"] += 1
            run("train", "--resume", "victim", "--runs", runs)
        else:
            stages["begin"] += 1
            run("train", *options, "--name", "victim")
        assert trained(runs / "victim") == expected
        assert {path.name for path in runs.iterdir()} == {"straight", "victim", "latest"}
        assert (runs / "latest").resolve() == runs / "victim"
    print(f"{kills} kills of training, after which it had to: {stages}")


@times(2, 50)
def test_generation(kills, run, killed, drawn, tiny_base, cat_folder, tmp_path):
    """Killed while it loads, claims the set, draws, or appends to the manifest: every picture to the byte."""
    runs = tmp_path / "runs"
    train = [
        "--concept",
        cat_folder,
        "--base",
        tiny_base,
        "--steps",
        2,
        "--sample-every",
        0,
        "--device",
        "cpu",
    ]
    run("train", *train, "--runs", runs, "--name", "cat")
    options = ["<V> cat in snow", "<V> cat!", "--images-per-prompt", 8, "--batch-size", 3]
    options += ["--device", "cpu", "--runs", runs]
    seconds = run("generate", *options, "--set", "straight")
    expected = drawn(runs / "cat" / "images" / "straight")
    cut_short = 0
    for _ in range(kills):
        shutil.rmtree(runs / "cat" / "images" / "victim", ignore_errors=True)
        cut_short += killed(seconds, "generate", *options, "--set", "victim")
        run("generate", *options, "--set", "victim")
        assert drawn(runs / "cat" / "images" / "victim") == expected
        assert {path.name for path in (runs / "cat" / "images").iterdir()} == {"straight", "victim"}
    print(f"{kills} kills of generation, {cut_short} of them before it was done")


@times(1, 20)
def test_eval(kills, run, killed, cat_folder, tmp_path):
    """Killed while it encodes, caches features, or writes scores: the scores are those of an eval that was not."""
    runs = tmp_path / "runs"
    train = [
        "--concept",
        cat_folder,
        "--base",
        "toybox",
        "--steps",
        1,
        "--sample-every",
        0,
        "--device",
        "cpu",
    ]
    run("train", *train, "--runs", runs, "--name", "cat")
    (tmp_path / "few.txt").write_text("a <V> CLASS in the snow\na <V> CLASS on the beach\n")
    draw = ["--prompts", tmp_path / "few.txt", "--images-per-prompt", 2, "--steps", 1, "--no-grid"]
    run("generate", *draw, "--device", "cpu", "--runs", runs)
    options = ["--run", "cat", "--device", "cpu", "--runs", runs]
    seconds = run("eval", *options)
    scores = runs / "cat" / "scores.json"
    expected = score_of(scores)
    cut_short = 0
    for _ in range(kills):
        scores.unlink()
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        cut_short += killed(seconds, "eval", *options)
        run("eval", *options)
        assert score_of(scores) == expected
        assert {path.name for path in (runs / "cat").iterdir() if path.name.startswith(".")} == set()
    print(f"{kills} kills of eval, {cut_short} of them before it was done")


@pytest.mark.slow
@pytest.mark.parametrize("kills", [20])
def test_a_study(kills, run, killed, begin, trained, drawn, tmp_path):
    """Killed anywhere, a study goes on when it is asked for again, and its cells are those of one that was not."""
    plan = ["bench", "concepts", shipped("concepts/cat"), "--methods", "lora,coeff", "--base", "toybox"]
    plan += ["--steps", 1, "--images-per-prompt", 1, "--sampling-steps", 1, "--device", "cpu"]
    seconds = run(*plan, "--study", tmp_path / "straight")
    cells = ["cat-coeff-seed0", "cat-lora-seed0"]

    def found(study):
        assert sorted(path.name for path in (study / "runs").iterdir() if path.name != "latest") == cells
        return {
            cell: {
                **trained(study / "runs" / cell),
                **{
                    set_: drawn(study / "runs" / cell / "images" / set_)
                    for set_ in ("benchmark", "unrelated")
                },
                "scores": {**score_of(study / "runs" / cell / "scores.json"), "source": None},
            }
            for cell in cells
        }

    expected = found(tmp_path / "straight")
    for number in range(kills):
        study = tmp_path / f"victim-{number}"
        again = 0
        while killed(seconds / (1 + again), *plan, "--study", study) and again < 2:
            again += 1
        run(*plan, "--study", study)
        assert found(study) == expected
        assert json.loads((study / "comparison.json").read_text())["contrasts"]
    print(f"{kills} studies, each killed up to three times")
