"""Two processes in one place: nothing lost, nothing mislabelled, and the second refused in one line, if at all.

Some cases run once with all tests; 20 rounds of each at random offsets are:
pytest -m slow tests/flow/test_two_at_once.py -s
"""

from __future__ import annotations

import json
import shutil
import signal
import time
from typing import Any

import pytest

from coeffdream.data.shipped import shipped
from coeffdream.records.claim import is_held


@pytest.fixture
def together(begin, dice):
    """Two commands, the second begun a random part of `within` seconds after the first, both at their end."""

    def meet(one: list[Any], other: list[Any], within: float) -> tuple[Any, Any]:
        first = begin(*one)
        time.sleep(dice.uniform(0, within))
        second = begin(*other)
        for command in (first, second):
            assert command.wait() in (0, 2), command.printed
            if command.wait() == 2:
                assert " is in use by " in command.error
        return first, second

    return meet


@pytest.fixture
def quick(tiny_base, cat_folder, tmp_path):
    """The options of a short training on the miniature."""
    options = ["--concept", cat_folder, "--base", tiny_base, "--sample-every", 0, "--checkpoint-every", 4]
    return [*options, "--device", "cpu", "--runs", tmp_path / "runs"]


@pytest.mark.parametrize("rounds", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_one_name_for_two_runs(rounds, quick, together, run, trained, tmp_path):
    """Two trainings of one name become two runs, each what it would have been alone."""
    runs = tmp_path / "runs"
    seconds = run("train", *quick, "--steps", 12, "--name", "zero", "--seed", 0)
    run("train", *quick, "--steps", 12, "--name", "one", "--seed", 1)
    alone = [trained(runs / name) for name in ("zero", "one")]
    assert alone[0] != alone[1]
    for _ in range(rounds):
        train = ["train", *quick, "--steps", 12, "--name", "cat", "--seed"]
        first, second = together([*train, 0], [*train, 1], seconds)
        assert first.wait() == second.wait() == 0
        both = [runs / "cat", runs / "cat-2"]
        seeds = [json.loads((path / "run.json").read_text())["config"]["seed"] for path in both]
        assert sorted(seeds) == [0, 1]
        assert [trained(path) for path in both] == [alone[seed] for seed in seeds]
        assert (runs / "latest").resolve() in both
        for path in both:
            shutil.rmtree(path)


@pytest.mark.parametrize(
    ("what", "rounds"),
    [
        ("other seeds", 1),
        *(
            pytest.param(what, 20, marks=pytest.mark.slow)
            for what in ("the same set", "other seeds", "prompts of one name")
        ),
    ],
)
def test_one_name_for_two_sets(what, rounds, quick, together, run, drawn, tmp_path):
    """The same set is drawn by one of them; what differs gets a folder of its own, with its own pictures."""
    runs = tmp_path / "runs"
    run("train", *quick, "--steps", 1, "--name", "cat")
    draw = ["generate", "--images-per-prompt", 6, "--batch-size", 1, "--device", "cpu", "--runs", runs]
    one, other = {
        "the same set": (["<V> cat"], ["<V> cat"]),
        "other seeds": (["<V> cat", "--seed", 0], ["<V> cat", "--seed", 5000]),
        "prompts of one name": (["<V> cat!"], ["<V> cat?"]),
    }[what]
    seconds = run(*draw, *one, "--set", "one")
    run(*draw, *other, "--set", "other")
    images = runs / "cat" / "images"
    alone = [drawn(images / name) for name in ("one", "other")] if what != "the same set" else []
    alone = alone or [drawn(images / "one")]
    shutil.rmtree(images)
    refused = 0
    for _ in range(rounds):
        commands = together([*draw, *one], [*draw, *other], seconds)
        refused += sum(command.wait() == 2 for command in commands)
        assert what == "the same set" or refused == 0
        sets = sorted(images.iterdir())
        assert [path.name for path in sets] == ["cat", "cat-2"][: len(alone)]
        assert all(drawn(path) in alone for path in sets)
        assert len({json.dumps(drawn(path)["rows"]) for path in sets}) == len(alone)
        shutil.rmtree(images)
    print(f"{rounds} rounds, {refused} refused")


@pytest.mark.slow
@pytest.mark.parametrize("rounds", [20])
def test_resume_beside_a_live_run(rounds, quick, together, run, trained, tmp_path):
    """A run that is training is resumed by nobody; once it has ended, by anybody."""
    runs = tmp_path / "runs"
    seconds = run("train", *quick, "--steps", 24, "--name", "straight")
    expected = trained(runs / "straight")
    refused = 0
    for _ in range(rounds):
        run("train", *quick, "--steps", 4, "--name", "cat")
        resume = ["train", "--resume", "cat", "--steps", 24, "--runs", runs]
        commands = together(resume, resume, seconds)
        assert 0 in [command.wait() for command in commands]
        refused += sum(command.wait() == 2 for command in commands)
        assert trained(runs / "cat") == expected
        shutil.rmtree(runs / "cat")
    print(f"{rounds} rounds, {refused} refused")


@pytest.mark.slow
@pytest.mark.parametrize("rounds", [20])
def test_train_beside_generate(rounds, quick, begin, dice, run, drawn, tmp_path):
    """Pictures are those of the adapter that their set names, the one from before or the one from after."""
    runs = tmp_path / "runs"
    draw = [
        "generate",
        "<V> cat",
        "--images-per-prompt",
        4,
        "--device",
        "cpu",
        "--runs",
        runs,
        "--run",
        "cat",
    ]
    run("train", *quick, "--lr", 0.05, "--steps", 4, "--name", "cat")
    shutil.copytree(runs / "cat", tmp_path / "before")
    run(*draw)
    seconds = run("train", "--resume", "cat", "--steps", 12, "--runs", runs)
    run(*draw)
    alone = {
        json.dumps(json.loads((path / "set.json").read_text())["settings"]["adapter"]): drawn(path)
        for path in sorted((runs / "cat" / "images").iterdir())
    }
    assert len(alone) == 2
    refused = 0
    for _ in range(rounds):
        shutil.rmtree(runs / "cat")
        shutil.copytree(tmp_path / "before", runs / "cat")
        training = begin("train", "--resume", "cat", "--steps", 12, "--runs", runs)
        time.sleep(dice.uniform(0, 1.2 * seconds))
        generating = begin(*draw)
        assert training.wait() == 0, training.printed
        if generating.wait() == 0:
            [made] = (runs / "cat" / "images").iterdir()
            adapter = json.loads((made / "set.json").read_text())["settings"]["adapter"]
            assert drawn(made) == alone[json.dumps(adapter)]
        else:
            assert generating.wait() == 2
            assert "run cat is in use by " in generating.error
            assert not (runs / "cat" / "images").exists()
            refused += 1
    print(f"{rounds} rounds, {refused} refused")


@pytest.mark.slow
def test_a_second_study_is_refused(begin, tmp_path):
    """In one line, while the first goes on; that ends on SIGTERM, with its stages, in a state to go on from."""
    plan = ["bench", "concepts", shipped("concepts/cat"), "--methods", "lora,coeff", "--base", "toybox"]
    plan += ["--steps", 2000, "--device", "cpu", "--study", tmp_path / "study"]
    first = begin(*plan)
    log = tmp_path / "study" / "runs" / "cat-lora-seed0" / "run.json"
    first.wait_for(log.exists)
    second = begin(*plan)
    assert second.wait() == 2
    assert "study is in use by process " in second.error
    assert "(bench concepts); wait until that has ended, or give another --study" in second.error
    first.signal(signal.SIGTERM)
    assert first.wait() == 143
    assert first.error == "error: terminated; what was finished is kept"
    assert json.loads(log.read_text())["status"] == "interrupted"
    assert not is_held(log.parent)


@pytest.mark.slow
@pytest.mark.parametrize("rounds", [20])
def test_two_studies_in_one_folder(rounds, together, tmp_path):
    """Every cell is made once, by the one of them that came first."""
    plan = ["bench", "concepts", shipped("concepts/cat"), "--methods", "lora,coeff", "--base", "toybox"]
    plan += ["--steps", 1, "--images-per-prompt", 1, "--sampling-steps", 1, "--device", "cpu"]
    for number in range(rounds):
        study = tmp_path / f"study-{number}"
        commands = together([*plan, "--study", study], [*plan, "--study", study], 3.0)
        assert sorted(command.wait() for command in commands) == [0, 2]
        cells = sorted(path.name for path in (study / "runs").iterdir() if path.name != "latest")
        assert cells == ["cat-coeff-seed0", "cat-lora-seed0"]
        assert all("train" in (study / "logs" / f"{cell}.log").read_text().split("$ ")[1] for cell in cells)
        assert all((study / "logs" / f"{cell}.log").read_text().count("$ coeffdream") == 5 for cell in cells)


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="this system cannot stop a process")
def test_a_run_that_was_removed_under_a_process(quick, begin, run, trained, tmp_path):
    """What a stopped process wakes to is another's run by now: it writes nothing over that, and says so."""
    runs = tmp_path / "runs"
    first = begin("train", *quick, "--steps", 5000, "--name", "cat")
    first.wait_for((runs / "cat" / "checkpoints").exists)
    first.signal(signal.SIGSTOP)
    shutil.rmtree(runs / "cat")
    run("train", *quick, "--steps", 4, "--name", "cat")
    finished = trained(runs / "cat")
    first.signal(signal.SIGCONT)
    assert first.wait() == 2
    assert "was removed or replaced while it was being worked in" in first.error
    assert trained(runs / "cat") == finished
    assert sorted(path.name for path in (runs / "cat" / "checkpoints").iterdir()) == ["000004"]
