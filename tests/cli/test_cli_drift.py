"""Drift as a person gets it on the toybox: draw, score, read."""

from __future__ import annotations

import dataclasses
import json

import pytest

from coeffdream.generation import request


@pytest.fixture
def few(monkeypatch):
    """Three unrelated prompts in the place of the toybox's 25."""
    load = request.load_prompts

    def short(source, **options):
        found = load(source, **options)
        if source != "toybox-unrelated":
            return found
        return dataclasses.replace(found, templates=found.templates[1:4])

    monkeypatch.setattr(request, "load_prompts", short)


@pytest.fixture
def learned_cat(cli, tmp_path):
    """A cat, hardly learned, and two pictures of it."""
    (tmp_path / "list.txt").write_text("a <V> CLASS in the snow\na <V> CLASS at night\n")
    quick = ("--base", "toybox", "--steps", 1, "--sample-every", 0, "--method", "lora", "--name", "kitty")
    assert cli("train", "--concept", "cat", *quick).status == 0
    drawn = cli("generate", "--prompts", "list.txt", "--images-per-prompt", 1, "--steps", 1, "--no-grid")
    assert drawn.status == 0, drawn.err


def test_draw_score_read(cli, few, learned_cat, tmp_path):
    """Without the sets a line has the command; after that drift stands in the table, the JSON and the record."""
    before = cli("eval")
    assert before.status == 0, before.err
    assert "coeffdream generate --run kitty --unrelated, then eval again\n" in before.err
    assert "drift (n" not in before.out

    drawn = cli("generate", "--unrelated", "--steps", 1, "--no-grid")
    assert drawn.status == 0, drawn.err
    assert "2 images in runs/kitty/images/unrelated\n" in drawn.err
    assert "2 images in runs/kitty/images/unrelated-base\n" in drawn.err
    assert "left out, because they name the class 'cat': a cat wearing a red hat in a room\n" in drawn.err
    again = json.loads(cli("generate", "--unrelated", "--steps", 1, "--no-grid", "--json").out)
    assert (again["already_there"], again["base_set"]["already_there"]) == (2, 2)
    assert again["left_out"] == ["a cat wearing a red hat in a room"]

    table = cli("eval")
    assert table.status == 0, table.err
    assert "drift (n = 2)" in table.out
    assert "--unrelated" not in table.err
    drift = json.loads(cli("eval", "--json").out)["drift"]
    assert (drift["set"], drift["base_set"], drift["n"]) == ("unrelated", "unrelated-base", 2)
    assert drift["prompts"] == "toybox-unrelated"
    kept = json.loads((tmp_path / "runs" / "kitty" / "scores.json").read_text())
    assert kept["drift"] == drift
    assert kept["set"]["prompts"] == "list.txt"


def test_it_goes_with_no_prompts_of_ones_own(cli, learned_cat):
    """One line, status 2, before anything is loaded."""
    answer = cli("generate", "a dog", "--unrelated", "--plain")
    assert answer.status == 2
    assert "--unrelated draws its own prompts" in " ".join(answer.complaint)
