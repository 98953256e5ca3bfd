"""The rule that keeps a checkpoint, on curves whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coeffdream.records.sweep import Levels, Point
from coeffdream.studies.keep import TOLERANCE, front, keep, shares_of

LEVELS = Levels(likeness=0.4, ceiling=0.8, text_alignment=0.5, text_chance=0.3, drift_chance=0.6)
STEPS = tuple(range(50, 850, 50))


def point(step: int, gained: float, followed: float, unchanged: float, lora: float = 1.0) -> Point:
    """A point with these shares of LEVELS."""
    return Point(
        step=step,
        lora_scale=lora,
        alpha_scale=1.0,
        likeness=0.4 + 0.4 * gained,
        text_alignment=0.3 + 0.2 * followed,
        drift=0.6 * (1 - unchanged),
    )


def overtrained(step: int) -> Point:
    """Likeness rises to the end, ever slower, while prompts and base are lost, ever faster."""
    gone = min(1.0, (step / 800) ** 2)
    return point(step, 1 - math.exp(-step / 150), 1 - 0.9 * gone, 1 - 0.8 * gone)


def kept(points: list[Point], levels: Levels = LEVELS) -> int | None:
    place, _ = keep(points, levels)
    return None if place is None else points[place].step


def test_shares_are_what_they_say():
    """From the untouched base to the photos, from chance to the untouched base; never beyond 0 and 1."""
    [shares] = shares_of([point(1, 0.25, 0.5, 0.75)], LEVELS)
    assert (shares.gained, shares.followed, shares.unchanged) == pytest.approx((0.25, 0.5, 0.75))
    assert shares.worth == pytest.approx(0.25 * 0.5 * 0.75)
    [shares] = shares_of([point(1, 1.5, 1.5, -0.5)], LEVELS)
    assert (shares.gained, shares.followed, shares.unchanged) == (1, 1, 0)


def test_an_overtrained_run_is_cut_where_the_losses_outrun_the_gain():
    """By hand: the worth is .595 at 150, .660 at 200, .682 at 250 and .670 at 300; 200 is the first within 5 %."""
    assert kept([overtrained(step) for step in STEPS]) == 200


def test_a_plateau_keeps_its_first_step():
    """Nothing is lost and nothing gained by going on."""
    points = [point(step, min(1.0, step / 200), 0.9, 0.9) for step in STEPS]
    assert kept(points) == 200


def test_a_run_that_is_still_learning_keeps_its_last_step():
    """Nothing speaks for stopping earlier."""
    points = [point(step, step / 1000, 1 - step / 8000, 1 - step / 8000) for step in STEPS[1::2]]
    assert kept(points) == 800


@pytest.mark.parametrize("seed", range(20))
def test_noise_does_not_decide(seed):
    """Of a run that is far too long it is never one of the last, whatever the noise of a few pictures."""
    rng = np.random.default_rng(seed)
    noisy = [
        Point(
            step=each.step,
            lora_scale=1.0,
            alpha_scale=1.0,
            likeness=each.likeness + rng.normal(0, 0.01),
            text_alignment=each.text_alignment + rng.normal(0, 0.005),
            drift=max(0.0, each.drift + rng.normal(0, 0.01)),
        )
        for each in map(overtrained, STEPS)
    ]
    assert 150 <= kept(noisy) <= 300


def test_a_single_checkpoint():
    """There is nothing to choose, and the reason is that it is the largest."""
    place, why = keep([point(100, 0.5, 0.8, 0.9)], LEVELS)
    assert place == 0
    assert why == (
        "step 100 gained 50% of the likeness there is to gain, follows the prompts to 80% and leaves other pictures as "
        "they were to 90%; the product, 0.36, is the largest"
    )


def test_nothing_learned_keeps_none():
    """No checkpoint is better than the untouched base: then none is named."""
    place, why = keep([point(100, -0.1, 1, 1), point(200, 0, 1, 1)], LEVELS)
    assert place is None
    assert "nearer to the photos than the untouched base" in why


def test_a_weaker_strength_of_a_later_step_may_be_kept():
    """Of one step the best strength; the reason names it."""
    points = [point(100, 0.2, 1, 1), point(200, 0.9, 0.3, 0.3), point(200, 0.8, 0.9, 0.9, lora=0.7)]
    place, why = keep(points, LEVELS)
    assert place == 2
    assert "step 200 at --lora-scale 0.7" in why


def test_without_a_ceiling_the_most_likeness_stands_for_it():
    """Of one photo nobody knows how like one another two would be; the choice is the same."""
    levels = Levels(likeness=0.4, ceiling=None, text_alignment=0.5, text_chance=0.3, drift_chance=0.6)
    points = [overtrained(step) for step in STEPS]
    assert max(shares.gained for shares in shares_of(points, levels)) == 1
    assert kept(points, levels) == kept(points)


def test_the_front():
    """A point is beaten by one that is as good in all three and better in one; equals do not beat each other."""
    points = [
        point(1, 0.2, 1, 1),
        point(2, 0.5, 0.9, 0.9),
        point(3, 0.5, 0.9, 0.8),
        point(4, 0.9, 0.2, 0.2),
        point(5, 0.9, 0.2, 0.2),
        point(6, 0.1, 0.1, 0.1),
    ]
    assert front(points) == [True, True, False, True, True, False]


@given(st.lists(st.tuples(*[st.floats(0, 1)] * 3), min_size=1, max_size=12))
def test_whatever_the_curve(shares):
    """What is kept is within the tolerance of the best, and no earlier step is; the order of the points is nothing."""
    points = [point(step, *each) for step, each in enumerate(shares, start=1)]
    worth = [each.worth for each in shares_of(points, LEVELS)]
    place, why = keep(points, LEVELS)
    if place is None:
        assert max(worth) <= 0
        return
    assert worth[place] >= (1 - TOLERANCE) * max(worth)
    assert all(each < (1 - TOLERANCE) * max(worth) for each in worth[:place])
    assert f"step {points[place].step} " in why
    backwards, _ = keep(points[::-1], LEVELS)
    assert points[::-1][backwards] == points[place]
