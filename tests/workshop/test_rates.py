"""Which rate a method is at its best with: the mean of the rule's worth over concepts, and never of half a study."""

from __future__ import annotations

import math

import pytest

from coeffdream.errors import RunError
from coeffdream.records.fields import record_to_json
from coeffdream.records.files import write_json
from coeffdream.records.study_plan import Study
from coeffdream.records.sweep import Shares
from coeffdream.workshop.rates import AtRate, as_text, rated

SLOW = AtRate("lora", 0.001, [Shares(0.4, 1.0, 1.0), Shares(0.2, 1.0, 1.0)])
FAST = AtRate("lora", 0.002, [Shares(0.9, 0.5, 0.4), Shares(0.9, 0.5, 0.4)])
OTHER = AtRate("dora", 0.002, [Shares(0.1, 1.0, 1.0)])


def test_worth_is_the_mean_of_products():
    """Not the product of means: a concept that is lost counts as lost."""
    assert SLOW.worth == pytest.approx(0.3)
    assert SLOW.error == pytest.approx(0.1)
    assert FAST.worth == pytest.approx(0.18)
    assert math.isnan(OTHER.error)


def test_each_method_has_its_own_best():
    lines = as_text([SLOW, FAST, OTHER]).splitlines()
    assert [line.endswith("best") for line in lines[1:]] == [True, False, True]
    assert "30%" in lines[1]
    assert "0.300 (0.100)" in lines[1]


def test_half_a_study_chooses_nothing(tmp_path):
    """The missing cells might have been the best."""
    arms = {"low": {"method": "lora", "lr": 0.001}, "high": {"method": "lora", "lr": 0.002}}
    study = Study(["/photos/cat"], list(arms), base="toybox", arms=arms)
    write_json(tmp_path / "study.json", record_to_json(study))
    with pytest.raises(RunError, match="not finished: cat-low-seed0 has no scores"):
        rated(tmp_path)


def test_a_study_of_something_else(tmp_path):
    """Arms that differ in no rate have none to choose."""
    study = Study(["/photos/cat"], ["lora", "coeff-lora"], base="toybox")
    write_json(tmp_path / "study.json", record_to_json(study))
    with pytest.raises(RunError, match="no study of rates: arm lora names no lr"):
        rated(tmp_path)
