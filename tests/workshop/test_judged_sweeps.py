"""When the judge calls a sweep's choice right: worked out by hand, and no score of the sweep has a say."""

from __future__ import annotations

import pytest

from coeffdream.errors import RunError
from coeffdream.workshop.judge.sweeps import Seen, Stopping, as_text, judge_sweeps

BASE = Seen(traits=0.2, places=0.9)
# Traits gained .525, 1, 1 of what the base lacks; times places .47, .85, .2.
STEPS = {50: Seen(0.62, 0.9), 100: Seen(1.0, 0.85), 150: Seen(1.0, 0.2)}


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
    assert not stopping(50, {50: Seen(0.3, 0.9), 100: Seen(1.0, 0.2)}).rightly
    assert not stopping(50, {50: Seen(0.9, 0.5), 100: Seen(1.0, 0.2)}).rightly


def test_a_run_that_goes_on_learning_is_not_too_long():
    """Then nothing is said against a sweep that names the last step."""
    assert stopping(100).overtrained
    assert not stopping(100, {50: Seen(0.3, 0.9), 100: Seen(0.9, 0.9)}).overtrained


def test_the_count_is_printed():
    text = as_text([stopping(100), stopping(150)])
    assert "1 of 2 sweeps name an earlier step rightly" in text
    assert "of 2 runs that an earlier step clearly beats, 1 sweeps name the last" in text


def test_no_sweep_to_judge(tmp_path):
    with pytest.raises(RunError, match="coeffdream sweep RUN"):
        judge_sweeps(None, tmp_path)
