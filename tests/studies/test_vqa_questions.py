"""The questions of `study vqa`: every answer is what the picture shows."""

from __future__ import annotations

import re

import numpy as np
import pytest

from coeffdream.progress import silent
from coeffdream.studies import vqa_questions
from coeffdream.studies.vqa_questions import (
    CORNERS,
    NUMBERS,
    about_pictures,
    others,
    reported,
    scenes,
    to_pretrain,
    told,
    words,
)

COUNT = 12


@pytest.fixture(scope="module")
def shown():
    """Scenes, each with the generator as it is after drawing."""
    return list(scenes("test", COUNT, silent))


def test_answers_are_what_is_shown(shown):
    """Of the questions about a picture, by what was drawn; over some scenes each number of things appears."""
    seen = set()
    for one, rng in shown:
        by_subject = {thing.subject: (corner, thing.color) for corner, thing in one.things.items()}
        assert len(by_subject) == len(one.things)
        color, count, where = reported(one, rng, 3)
        subject = re.fullmatch(r"what color is the (\w+) \?", color.text).group(1)
        corner, wanted = by_subject[subject]
        assert (color.answer, where.answer) == (wanted, CORNERS[corner])
        assert where.text == f"where is the {subject} ?"
        assert count.answer == NUMBERS[len(one.things) - 1]
        assert [each.picture for each in (color, count, where)] == [3] * 3
        seen.add(len(one.things))
        what, whether, behind = others(one, rng, 3)
        at = CORNERS.index(re.fullmatch(r"what is at the (.+) \?", what.text).group(1))
        assert what.answer == (one.things[at].subject if at in one.things else "nothing")
        assert whether.answer == ("yes" if whether.text.split()[-2] in by_subject else "no")
        assert behind.answer == one.background
    assert seen == {1, 2, 3, 4}


def test_what_is_told_holds_every_thing(shown):
    for one, rng in shown:
        wanted = {f"{thing.color} {thing.subject} {CORNERS[corner]}" for corner, thing in one.things.items()}
        assert set(told(one, rng).split(" . ")) == wanted


def test_a_thing_is_in_its_corner(shown, monkeypatch):
    """Where it is said to be, the picture differs most from its background alone."""
    drawn = []
    monkeypatch.setattr(vqa_questions, "together", lambda placed, side: drawn.append(placed))
    list(scenes("test", COUNT, silent))
    from coeffdream.toybox.world import silhouette

    for (one, _), placed in zip(shown, drawn, strict=True):
        for corner, scene in zip(one.things, placed, strict=True):
            mask = np.asarray(silhouette(scene, 64)) > 127
            rows, columns = np.nonzero(mask)
            place = ("top" if rows.mean() < 32 else "bottom") + (" left" if columns.mean() < 32 else " right")
            assert place == CORNERS[corner]


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
