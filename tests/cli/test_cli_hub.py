"""`coeffdream push` and `--run hub:...` as a person calls them, against a hub on this machine."""

from __future__ import annotations

import dataclasses
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

REPO = "me/my-cat"


@pytest.fixture
def pushed(cli, run_of, hub):
    """A run, pushed; and what the command said."""
    run = run_of("coeff-lora")
    answer = cli("push", run.path.name, REPO, "--license", "mit")
    assert answer.status == 0, answer.err
    return run, answer


def test_push_says_where_it_went_and_how_to_get_it_back(pushed, hub):
    """What it lacks, the page, whether everybody sees it, and the command for other machines."""
    _, answer = pushed
    commit = hub.repositories[REPO].commits[-1][0]
    assert f"pushed to {hub.url}/{REPO}, public, commit {commit}" in answer.err
    assert f"coeffdream generate --run hub:{REPO} '<V> cat in snow'" in answer.err
    assert "warning: its base is a folder of yours: whoever draws with it needs base" in answer.err
    assert "warning: the card has no pictures" in answer.err
    assert "warning: the card has no scores" in answer.err
    assert b"license: mit" in hub.files(REPO)["README.md"]


def test_pictures_of_a_fetched_run_are_those_of_the_run(cli, pushed, tiny_base, tmp_path, monkeypatch):
    """On another machine the same command draws the same picture; eval, inspect and export take it as well."""
    run, _ = pushed
    draw = ("<V> cat in snow", "--images-per-prompt", 1, "--steps", 2, "--set", "snow")
    assert cli("generate", "--run", run.path.name, *draw).status == 0
    [here] = (run.images / "snow").glob("0*.png")
    shutil.move(run.path, tmp_path / "away")
    answer = cli("generate", "--run", f"hub:{REPO}", "--base", tiny_base, *draw)
    assert answer.status == 0, answer.err
    [fetched] = (tmp_path / "runs").glob("me--my-cat-*")
    [there] = (fetched / "images" / "snow").glob("0*.png")
    moved = tmp_path / "away" / "images" / "snow" / here.name
    assert np.array_equal(np.asarray(Image.open(moved)), np.asarray(Image.open(there)))
    shown = json.loads(cli("inspect", f"hub:{REPO}", "--json").out)
    assert shown["run"] == str(fetched)
    # Once it is here the hub is not needed.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    exported = cli("export", f"hub:{REPO}", "--base", tiny_base, "--output", tmp_path / "out.safetensors")
    assert exported.status == 0, exported.err
    assert (tmp_path / "out.safetensors").is_file()
    scored = cli("eval", "--run", f"hub:{REPO}", "--set", "snow")
    assert scored.status == 2
    assert "--references FOLDER" in scored.complaint[0]


def test_the_folder_can_be_looked_at_before(cli, run_of, hub, tmp_path, monkeypatch):
    """--to writes it, offline and without a token, and pushes nothing."""
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    run = run_of("lora")
    answer = cli("push", run.path.name, REPO, "--to", tmp_path / "look", "--photos")
    assert answer.status == 0, answer.err
    assert "written, and not pushed: look" in answer.err
    assert {path.name for path in (tmp_path / "look").iterdir()} == {
        "README.md",
        "run.json",
        "pytorch_lora_weights.safetensors",
        "cat-lora.safetensors",
        "photos",
    }
    assert hub.asked == []


LINES = {
    "no such run": (["push", "nosuch", REPO], "no run called 'nosuch'"),
    "no repository": (
        ["push", "cat-coeff-lora", "my cat"],
        "'my cat' names no repository of the hub; write OWNER/NAME",
    ),
    "no owner": (["push", "cat-coeff-lora", "my-cat"], "'my-cat' names no repository of the hub"),
    "a folder with something in it": (
        ["push", "cat-coeff-lora", REPO, "--to", "runs"],
        "runs is there already",
    ),
    "a set that is not there": (
        ["push", "cat-coeff-lora", REPO, "--set", "x", "--to", "y"],
        "no set called 'x'",
    ),
    "not fetched before": (["generate", "--run", f"hub:{REPO}"], "was not fetched before, and cannot be now"),
    "offline": (["push", "cat-coeff-lora", REPO], "nothing can be pushed: HF_HUB_OFFLINE is set"),
}


@pytest.mark.parametrize("case", LINES)
def test_one_line_says_why_not(cli, run_of, case, tmp_path, contents):
    """And nothing is written. The client of all tests is offline."""
    run_of("coeff-lora")
    before = contents(tmp_path)
    arguments, complaint = LINES[case]
    answer = cli(*arguments)
    assert answer.status == 2
    [line] = answer.complaint
    assert complaint in line
    assert contents(tmp_path) == before


def test_scores_go_where_the_training_was_logged(cli, tmp_path):
    """eval adds them to the same TensorBoard run; --json stays JSON."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    quick = ("--base", "toybox", "--steps", 1, "--sample-every", 0, "--method", "lora", "--name", "kitty")
    assert cli("train", "--concept", "cat", *quick, "--log-with", "tensorboard").status == 0
    (tmp_path / "list.txt").write_text("a <V> CLASS in the snow\na <V> CLASS at night\n")
    drawn = cli("generate", "--prompts", "list.txt", "--images-per-prompt", 1, "--steps", 1, "--no-grid")
    assert drawn.status == 0, drawn.err
    answer = cli("eval", "--json")
    assert answer.status == 0, answer.err
    overall = json.loads(answer.out)["overall"]
    shown = EventAccumulator(str(tmp_path / "runs" / "kitty" / "tensorboard"))
    shown.Reload()
    [score] = shown.Scalars("eval/text_alignment")
    assert (score.step, score.value) == (1, pytest.approx(overall["text_alignment"], rel=1e-6))
    assert shown.Scalars("ceiling/concept_alignment")


def test_scores_that_cannot_be_logged_are_there_all_the_same(cli, learned_elsewhere, monkeypatch):
    """A tracker that is gone since the training costs a warning, not the scores."""
    from coeffdream.cli import evaluate

    run, scores = learned_elsewhere
    monkeypatch.setattr("importlib.util.find_spec", lambda package: None)
    said: list[str] = []
    monkeypatch.setattr(evaluate, "warn", said.append)
    evaluate._log(run, scores)
    assert said == [
        "the scores are not logged: --log-with wandb needs the package wandb; install it with: pip install wandb"
    ]


@pytest.fixture
def learned_elsewhere(cli, run_of):
    """A run that was logged to W&B, and one score of its only set."""
    run = run_of("lora")
    drawn = cli("generate", "<V> cat", "--images-per-prompt", 1, "--steps", 1, "--no-grid", "--set", "one")
    assert drawn.status == 0, drawn.err
    record = run.read()
    run.write(dataclasses.replace(record, config=dataclasses.replace(record.config, log_with="wandb")))
    return run, SimpleNamespace(set=SimpleNamespace(name="one"))
