"""The questions of `study vqa`: every answer is what the picture shows."""

from __future__ import annotations

import re

import numpy as np
import pytest

from coeffdream.progress import silent
from coeffdream.studies import vqa_questions
from coeffdream.studies.vqa_questions import (
    NUMBERS,
    about_pictures,
    others,
    reported,
    scenes,
    to_pretrain,
    told,
    words,
)
from coeffdream.toybox.world import silhouette

COUNT = 12


@pytest.fixture(scope="module")
def shown():
    """Scenes, each with the generator as it is after drawing."""
    return list(scenes("test", COUNT, silent))


def test_answers_are_what_is_shown(shown):
    """By what was drawn; over some scenes each number of things appears, and where is asked of one alone."""
    seen = set()
    for one, rng in shown:
        color, count, *where = reported(one, 3)
        assert (color.text, color.answer) == (f"what color is the {one.subject} ?", one.color)
        assert count.answer == NUMBERS[len(one.corners) - 1]
        assert len(set(one.corners)) == len(one.corners)
        assert [each.answer for each in where] == (list(one.corners) if len(one.corners) == 1 else [])
        assert {each.picture for each in (color, count, *where)} == {3}
        seen.add(len(one.corners))
        what, whether, behind = others(one, rng, 3)
        corner = re.fullmatch(r"is there one at the (.+) \?", whether.text).group(1)
        assert whether.answer == ("yes" if corner in one.corners else "no")
        assert (what.answer, behind.answer) == (one.subject, one.background)
        assert told(one).split(" . ") == [f"{one.color} {one.subject} {corner}" for corner in one.corners]
    assert seen == {1, 2, 3, 4}


def test_a_thing_is_in_its_corner(shown, monkeypatch):
    """Each is drawn where it is said to be, and is what it is said to be."""
    drawn = []
    monkeypatch.setattr(vqa_questions, "together", lambda placed, side: drawn.append(placed))
    list(scenes("test", COUNT, silent))
    for (one, _), placed in zip(shown, drawn, strict=True):
        corners = []
        for scene in placed:
            rows, columns = np.nonzero(np.asarray(silhouette(scene, 64)) > 127)
            corners.append(
                ("top" if rows.mean() < 32 else "bottom") + (" left" if columns.mean() < 32 else " right")
            )
            assert (scene.individual.subject, scene.individual.body_name) == (one.subject, one.color)
            assert scene.background == one.background
        assert tuple(corners) == one.corners


def test_a_picture_is_a_function_of_its_split_and_number():
    """Fewer are the first of more, other splits are others."""
    few, some = about_pictures("train", 2, silent), about_pictures("train", 3, silent)
    assert few[1] == some[1][: len(few[1])]
    assert few[0][1].tobytes() == some[0][1].tobytes()
    assert about_pictures("test", 2, silent)[0][0].tobytes() != few[0][0].tobytes()


def test_the_pretraining_never_asks_the_reported_of_a_picture():
    """What is reported about pictures is asked there about sentences alone, and its words are all known."""
    pictures, questions = to_pretrain(3, silent)
    assert len(pictures) == 3
    about = {each.of for each in questions if each.picture is not None}
    assert about == {"what", "whether", "behind"}
    assert {each.of for each in questions if each.picture is None} == {
        "read color",
        "read count",
        "read where",
    }
    said = {word for each in questions for word in f"{each.text} {each.answer}".split()}
    assert said <= set(words())
