"""What an arm is worth: the mean of the rule's worth over concepts, and never of half a study."""

from __future__ import annotations

import math

import pytest

from coeffdream.errors import RunError
from coeffdream.records.fields import record_to_json
from coeffdream.records.files import write_json
from coeffdream.records.study_plan import Study
from coeffdream.records.sweep import Shares
from coeffdream.workshop.worth import Arm, as_text, worth_of


def arm(name, *concepts, seeds=1, twin=None):
    shares = {f"concept {number}": [Shares(*each)] * seeds for number, each in enumerate(concepts)}
    return Arm(name, name.partition("-")[0], shares, twin and twin.shares)


SLOW = arm("lora-slow", (0.4, 1.0, 1.0), (0.2, 1.0, 1.0))
FAST = arm("lora-fast", (0.9, 0.5, 0.4), (0.9, 0.5, 0.4), twin=SLOW)
OTHER = arm("dora", (0.1, 1.0, 1.0))


def test_worth_is_the_mean_of_products():
    """Not the product of means: a concept that is lost counts as lost."""
    assert SLOW.worth == pytest.approx((0.3, 0.1))
    assert FAST.worth == pytest.approx((0.18, 0.0))
    assert math.isnan(OTHER.worth[1])


def test_more_than_the_twin_is_told_concept_by_concept():
    """What both have in common, an easy concept or a hard one, is not in its interval."""
    assert SLOW.more is None
    found = FAST.more
    assert (found.value, found.p) == (pytest.approx(-0.12), 0.5)
    assert found.high - found.value == pytest.approx(12.706 * 0.1, rel=1e-3)
    even = arm("even", (0.5, 1.0, 1.0), (0.3, 1.0, 1.0), twin=SLOW).more
    assert (even.low, even.high) == pytest.approx((0.1, 0.1))


def test_seeds_are_no_concepts():
    """The same twice says no more than once."""
    assert arm("lora", (0.4, 1, 1), (0.2, 1, 1), seeds=3).worth == pytest.approx(SLOW.worth)


def test_each_method_has_its_own_best():
    lines = as_text([SLOW, FAST, OTHER]).splitlines()
    assert [line.endswith("best of its method") for line in lines[1:]] == [True, False, True]
    assert "30%" in lines[1]
    assert "0.300 ± 0.100" in lines[1]
    assert "-0.120 [-1.391, +1.151], p 0.5" in lines[2]


def test_half_a_study_chooses_nothing(tmp_path):
    """The missing cells might have been the best."""
    arms = {"low": {"method": "lora", "lr": 0.001}, "high": {"method": "lora", "lr": 0.002}}
    study = Study(["/photos/cat"], list(arms), base="toybox", arms=arms)
    write_json(tmp_path / "study.json", record_to_json(study))
    with pytest.raises(RunError, match="not finished: cat-low-seed0 has no scores"):
        worth_of(tmp_path)
