"""`study heads`: alpha's cost from shapes is counted, and the layer that is timed computes what it says."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from coeffdream.attention.reference import reference
from coeffdream.errors import ConfigError
from coeffdream.progress import silent
from coeffdream.studies import head_costs
from coeffdream.studies.head_costs import Timing, model_costs, time_heads
from coeffdream.studies.options import HeadsOptions


@pytest.fixture(scope="module")
def costs():
    return {cost.model: cost for cost in model_costs()}


def test_coefficients_are_those_of_the_papers_tables(costs):
    """arXiv 2503.18337: 0.002 M in SDXL's share, 1,728 in ViT-B/16, 2.6K in BART-base."""
    assert [costs[name].coefficients for name in ("SDXL's UNet", "ViT-B/16", "BART-base")] == [
        50_000,
        1728,
        2592,
    ]
    assert round(100 * 50_000 / costs["SDXL's UNet"].parameters, 4) == 0.0019


def test_a_layer_of_a_hundred_heads(costs):
    """100 x 100 coefficients; a LoRA of rank 2 on two square projections; 100 heads over twice their width."""
    cost = costs["100-head layer"]
    assert (cost.layers, cost.heads, cost.head_width) == (1, 100, 128)
    assert (cost.coefficients, cost.lora) == (10_000, 2 * 2 * (12_800 + 12_800))
    assert cost.operations == 100 / 256


def test_decoders_are_as_large_as_the_models_they_are_named_after(costs):
    for name, size in (("as GPT-3 6.7B", 6.7e9), ("as GPT-3 175B", 175e9)):
        assert costs[name].parameters == pytest.approx(size, rel=0.04)


def test_the_timed_work_is_plain_attention_and_attention_with_alpha(monkeypatch):
    """Both backward passes run, over the same inputs."""
    outputs = []
    monkeypatch.setattr(head_costs, "_backward", lambda output: outputs.append(output))
    plain, mixed = head_costs._work(4, 3, 5)
    plain(), mixed()
    query, key, value = (
        torch.randn(1, 4, 5, 3, generator=head_costs.generator_for(0, name))
        for name in ("heads-query", "heads-key", "heads-value")
    )
    alpha = 0.1 * torch.randn(4, 4, generator=head_costs.generator_for(0, "heads-alpha"))
    torch.testing.assert_close(outputs[0], F.scaled_dot_product_attention(query, key, value))
    torch.testing.assert_close(outputs[1], reference(query, key, value, torch.eye(4) + alpha))
    assert all(output.requires_grad for output in outputs)


def test_both_are_timed_in_turn(monkeypatch):
    """Plain, mixed, plain, mixed, for every number of heads in every round."""
    order = []
    monkeypatch.setattr(
        head_costs,
        "_work",
        lambda heads, width, tokens: tuple(
            lambda kind=kind: order.append((heads, width, kind)) for kind in "pm"
        ),
    )
    timings = time_heads([1, 2], width=8, tokens=3, repeats=2, progress=silent)
    once = [(1, 8, "p"), (1, 8, "m"), (2, 4, "p"), (2, 4, "m")]
    assert order == once * 3  # the first round is not timed
    assert [(each.heads, len(each.plain), len(each.mixed)) for each in timings] == [(1, 2, 2), (2, 2, 2)]


def test_the_ratio_is_of_medians():
    assert Timing(2, [1.0, 2.0, 9.0], [3.0, 4.0, 5.0]).ratio == 2.0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"heads": "two"}, "--heads 'two' must be numbers with commas between"),
        ({"heads": "1,,2"}, "--heads '1,,2' must be numbers"),
        ({"heads": "3"}, "--heads 3 must be from 1 to 32 and divide --width 512"),
        ({"heads": "0"}, "--heads 0 must be from 1 to 32"),
        ({"heads": "64"}, "--heads 64 must be from 1 to 32"),
        ({"tokens": 0}, "--tokens"),
        ({"task": "cats"}, "--task 'cats': there are digits"),
        ({"heads": "3", "width": 6, "task": "place"}, "--heads 3 must divide 64"),
        ({"seeds": 10**6}, "--seeds"),
    ],
)
def test_what_makes_no_study(given, message):
    with pytest.raises(ConfigError, match=message):
        HeadsOptions(**given).check()
