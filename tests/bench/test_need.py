"""What a worker of a study asks a cluster for."""

from __future__ import annotations

import dataclasses

import pytest

from coeffdream.backbones.base import base_asked
from coeffdream.backbones.device import DTYPES
from coeffdream.backbones.footprint import NOT_COUNTED, Shapes
from coeffdream.bench.need import need
from coeffdream.data.shipped import shipped
from coeffdream.errors import ConfigError
from coeffdream.records.study_plan import Study
from coeffdream.resolve import resolve
from coeffdream.training.forecast import Forecast


@pytest.fixture
def study():
    arms = {"small": {"method": "lora"}, "large": {"method": "lora", "batch_size": 16, "against": "small"}}
    return Study([str(shipped("concepts/cat"))], list(arms), arms, base="toybox")


def test_the_most_demanding_arm_says(study):
    """On a CPU all of it is the machine's memory; the step of the larger batch is the peak."""
    base = base_asked({"base": "toybox"})
    given = {"method": "lora", "batch_size": 16, "base": "toybox", "sample_every": 0}
    config = resolve(given, recommended=base.settings.training).config
    config = dataclasses.replace(config, device="cpu", precision="fp32")
    found = need(study, "cpu")
    assert found.card == 0
    assert found.machine == Forecast(base, config).step(config).total + NOT_COUNTED
    smaller = need(dataclasses.replace(study, methods=["small"], arms={"small": {"method": "lora"}}), "cpu")
    assert smaller.machine < found.machine


def test_on_a_card_that_is_not_here(study):
    """The card holds the peak, in its own precision; the machine keeps the base's weights."""
    found = need(study, "cuda")
    weights = Shapes(base_asked({"base": "toybox"}), DTYPES["bf16"]).weights
    assert found.machine == sum(weights.values()) + NOT_COUNTED
    assert found.card > NOT_COUNTED
    assert need(dataclasses.replace(study, sampling_steps=1), "cuda") == found


def test_an_arm_that_is_no_training(study):
    """Told before anything is asked of a cluster."""
    broken = dataclasses.replace(study, arms={**study.arms, "small": {"method": "lora", "rank": 0}})
    with pytest.raises(ConfigError, match="--rank 0"):
        need(broken, "cpu")
