"""What is asked for is bounded before it costs anything."""

from __future__ import annotations

import time

import pytest

from coeffdream.config import TrainConfig
from coeffdream.errors import ConfigError
from coeffdream.limits import layer_pattern
from coeffdream.resolve import resolve

PATH = "up_blocks.0.attentions.1.transformer_blocks.0.attn1" + "a" * 60


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rank", 10**9),
        ("steps", 10**12),
        ("batch_size", 10**9),
        ("grad_accum", 10**9),
        ("prior_images", 10**9),
        ("resolution", 8 * 10**9),
        ("seed", 2**64),
        ("checkpoint_every", 10**30),
        ("lr", 1e38),
        ("lr", 10**400),
        ("prior_weight", float("inf")),
        ("noise_offset", 10**400),
        ("coeff_dropout", float("nan")),
        ("name", "x" * 300),
        ("token", "x y" * 1000),
    ],
)
def test_beyond_any_use(name, value):
    """Each is one problem of one line, also where Python would not convert or write out the number."""
    with pytest.raises(ConfigError) as caught:
        resolve({name: value})
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 300


def test_a_limit_itself_is_allowed():
    """The bounds are far above what people ask for."""
    assert resolve({"rank": 2048, "resolution": 8192, "seed": 2**63 - 1}).config.rank == 2048
    assert TrainConfig().problems() == []


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*$", "(a*)*b", "([a-z]*)*!", r"(\w+\s?)*$"])
def test_no_pattern_takes_long(pattern):
    """Each of these keeps Python's own `re` busy for longer than anyone waits."""
    started = time.perf_counter()
    compiled = layer_pattern(pattern)
    for _ in range(140):
        compiled.search(PATH + "!")
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize(
    "pattern", ["((a{1000}){1000}){1000}", "x" * 10**6, "mid(", "(?=a)", r"(a)\1", "a{2,1}"]
)
def test_patterns_that_are_refused(pattern):
    """Too large, not well formed, or of a kind that would need backtracking: one line with the syntax meant."""
    with pytest.raises(ConfigError, match="is not a regular expression") as caught:
        resolve({"alpha_layers": pattern})
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("pattern", [r"^mid_block\.", r"attn[12]$", r"(down|up)_blocks\.[01]\."])
def test_usual_patterns(pattern):
    """What is written about layers means what it means in Python."""
    import re

    for path in ("mid_block.attentions.0.attn1", "up_blocks.0.a.attn2", "down_blocks.2.a"):
        assert bool(layer_pattern(pattern).search(path)) == bool(re.search(pattern, path))
