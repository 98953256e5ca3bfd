"""When the judge calls a sweep's choice right: worked out by hand, and no score of the sweep has a say."""

from __future__ import annotations

import math

import pytest

from coeffdream.errors import RunError
from coeffdream.toybox.world.names import COLOURS, SUBJECTS
from coeffdream.toybox.world.wish import Wish
from coeffdream.workshop.judge.personal import things_kept
from coeffdream.workshop.judge.sweeps import Seen, Stopping, as_text, judge_sweeps

BASE = Seen(traits=0.2, places=0.9, others=1.0)
# Traits gained .525, 1, 1 of what the base lacks; times places and other things .47, .85, .2.
STEPS = {50: Seen(0.62, 0.9, 1.0), 100: Seen(1.0, 0.85, 1.0), 150: Seen(1.0, 0.8, 0.25)}


def stopping(kept: int | None, steps: dict[int, Seen] = STEPS) -> Stopping:
    return Stopping("cat", BASE, steps, kept)


@pytest.mark.parametrize(
    ("kept", "rightly"),
    [
        (50, True),  # half of the best traits, all places
        (100, True),
        (150, False),  # the last
        (None, False),
    ],
)
def test_what_is_right(kept, rightly):
    assert stopping(kept).rightly == rightly


def test_an_early_step_that_shows_the_thing_too_little_is_wrong():
    """So is one whose places are lost already."""
    assert not stopping(50, {50: Seen(0.3, 0.9, 1.0), 100: Seen(1.0, 0.2, 1.0)}).rightly
    assert not stopping(50, {50: Seen(0.9, 0.5, 1.0), 100: Seen(1.0, 0.2, 1.0)}).rightly


def test_other_things_are_kept_in_kind_and_color():
    """What was not asked for does not count, and a picture that asks for neither says nothing."""
    read = {
        "subject": [SUBJECTS.index("cat"), SUBJECTS.index("dog"), 0],
        "colour": [COLOURS.index("red")] * 3,
    }
    wishes = [Wish(subject="cat", colour="blue"), Wish(subject="dog"), Wish(background="snow")]
    assert things_kept(read, wishes)[:2] == [0.5, 1.0]
    assert math.isnan(things_kept(read, wishes)[2])


def test_a_run_that_goes_on_learning_is_not_too_long():
    """Then nothing is said against a sweep that names the last step."""
    assert stopping(100).overtrained
    assert not stopping(100, {50: Seen(0.3, 0.9, 1.0), 100: Seen(0.9, 0.9, 1.0)}).overtrained


def test_the_count_is_printed():
    text = as_text([stopping(100), stopping(150)])
    assert "1 of 2 sweeps name an earlier step rightly" in text
    assert "of 2 runs that an earlier step clearly beats, 1 sweeps name the last" in text


def test_no_sweep_to_judge(tmp_path):
    with pytest.raises(RunError, match="coeffdream sweep RUN"):
        judge_sweeps(None, tmp_path)
