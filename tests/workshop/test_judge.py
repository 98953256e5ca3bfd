"""The judge of personalisation: what counts as the individual's own, and when a concept counts as learned."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from coeffdream.errors import RunError
from coeffdream.records.fields import record_to_json
from coeffdream.records.files import write_json
from coeffdream.records.study_plan import Study
from coeffdream.toybox.world.concepts import CONCEPTS
from coeffdream.toybox.world.grammar import read_caption
from coeffdream.toybox.world.names import BACKGROUNDS, COLOURS, PATTERNS, SUBJECTS
from coeffdream.workshop.judge.base import fulfilled
from coeffdream.workshop.judge.personal import (
    Measured,
    Verdict,
    arms_of,
    as_json,
    as_text,
    find_runs,
    own_match,
    place_kept,
)

CAT = next(concept.individual for concept in CONCEPTS if concept.name == "cat")  # orange, white, striped


def seen(colour: str, second: str, pattern: str, background: str = "snow") -> dict[str, list[int]]:
    return {
        "colour": [COLOURS.index(colour)],
        "second": [COLOURS.index(second)],
        "pattern": [PATTERNS.index(pattern)],
        "background": [BACKGROUNDS.index(background)],
    }


@pytest.mark.parametrize(
    ("caption", "read", "share"),
    [
        ("a sks cat", seen("orange", "white", "striped"), 1.0),
        ("a sks cat", seen("red", "white", "plain"), 1 / 3),
        # What the prompt settles is not the individual's merit.
        ("a red sks cat", seen("red", "black", "striped"), 1.0),
        ("a spotted sks cat", seen("orange", "black", "spotted"), 0.5),
    ],
)
def test_only_what_the_prompt_leaves_open_counts(caption, read, share):
    """A prompt that asks for red fur cannot show whether the cat's orange was learned."""
    assert own_match(read, [read_caption(caption)], CAT) == pytest.approx([share])


def test_places_count_where_one_was_asked_for():
    """A prompt without a place says nothing of background following."""
    read = seen("red", "red", "plain", "beach")
    assert place_kept(read, [read_caption("a cat on the beach")]) == [1.0]
    assert place_kept(read, [read_caption("a cat in the snow")]) == [0.0]
    assert np.isnan(place_kept(read, [read_caption("a red cat")])).all()


def test_a_wish_is_fulfilled_or_not():
    """Counts are of captions that asked, and of those that got it."""
    read = seen("red", "red", "plain") | {"subject": [SUBJECTS.index("cat")], "accessory": [0]}
    counts = fulfilled(read, [read_caption("a red cat wearing a hat in the city")])
    assert counts == {
        "subject": (1, 1),
        "background": (0, 1),
        "colour": (1, 1),
        "accessory": (0, 1),
        "pattern": (0, 0),
    }


def verdict(**changes) -> Verdict:
    values = {
        "concept": "cat",
        "arm": "lora",
        "seeds": 1,
        "match": Measured(0.9, 0.8, 1.0),
        "base_match": Measured(0.3, 0.2, 0.4),
        "alignment": Measured(0.9, 0.85, 0.95),
        "base_alignment": Measured(0.6, 0.5, 0.7),
        "place": 0.95,
        "base_place": 1.0,
    }
    return Verdict(**(values | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"match": Measured(0.5, 0.39, 0.6)},
        {"alignment": Measured(0.75, 0.69, 0.8)},
        {"place": 0.89},
    ],
)
def test_learned_needs_all_three(changes):
    """Touching intervals, or places no longer followed, are not learned, and the table says who failed."""
    assert verdict().learned
    assert not verdict(**changes).learned
    text = as_text([verdict(), verdict(concept="dog", **changes)])
    assert "lora: 1 of 2 learned" in text
    assert [line.endswith("*") for line in text.splitlines()[1:3]] == [False, True]
    assert json.loads(json.dumps(as_json([verdict(**changes)])))[0]["learned"] is False


def test_a_folder_without_runs_says_what_makes_them(tmp_path):
    """Nothing to judge is one clear line."""
    torch.manual_seed(0)
    with pytest.raises(RunError, match="bench concepts"):
        find_runs(tmp_path)


def test_arms_of_one_method_are_judged_apart(tmp_path):
    """Where no study made the runs, it is methods."""
    assert arms_of(tmp_path / "runs") == {}
    arms = {"low": {"method": "lora", "lr": 0.001}, "high": {"method": "lora", "lr": 0.002}}
    study = Study(["/photos/cat"], list(arms), base="toybox", arms=arms)
    write_json(tmp_path / "study.json", record_to_json(study))
    assert arms_of(tmp_path / "runs") == {"cat-low-seed0": "low", "cat-high-seed0": "high"}
