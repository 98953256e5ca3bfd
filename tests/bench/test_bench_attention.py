"""The benchmark of mixed attention: what is timed, what is refused, and that ratios and memory are what they say."""

from __future__ import annotations

import dataclasses
import json
import statistics

import pytest
import torch

from coeffdream.bench import attention as bench
from coeffdream.bench.attention import PASSES, Shape, run_benchmark, sdxl_shapes
from coeffdream.bench.measuring import peak_of
from coeffdream.cli.bench_attention import _table
from coeffdream.errors import ConfigError


def run(**changes):
    return run_benchmark(
        **({"device": "cpu", "dtype": "float32", "resolution": 64, "batch": 1, "repeats": 3} | changes)
    )


def test_the_shapes_are_sdxls():
    """At 1024 pixels SDXL attends over 4096 positions with 10 heads and over 1024 with 20, to itself and 77 words."""
    assert [(s.queries, s.keys, s.heads, s.head_dim) for s in sdxl_shapes(1024, 1)] == [
        (4096, 4096, 10, 64),
        (4096, 77, 10, 64),
        (1024, 1024, 20, 64),
        (1024, 77, 20, 64),
    ]


def test_every_contender_is_timed_in_both_passes():
    """Each repeat is kept, and the ratios are those of the medians of this run."""
    benchmark = run()
    assert len(benchmark.cases) == 4
    for case in benchmark.cases:
        assert [t.backend for t in case.timings] == ["sdpa", "reference", "chunked", "flash"] * 2
        for stage in PASSES:
            timed = {t.backend: t for t in case.timings if t.stage == stage}
            for timing in timed.values():
                assert len(timing.seconds) == 3
                assert min(timing.seconds) > 0
                assert timing.median == statistics.median(timing.seconds)
                assert timing.to_sdpa == pytest.approx(timing.median / timed["sdpa"].median)
                assert timing.to_eager == pytest.approx(timing.median / timed["reference"].median)
    assert json.loads(json.dumps(dataclasses.asdict(benchmark)))["dtype"] == "float32"


def test_contenders_take_turns(monkeypatch):
    """A B C A B C: a machine that slows down half-way slows all of them."""
    order = []

    def contenders(device, inputs):
        return {name: lambda name=name: order.append(name) or inputs[0] * 1 for name in "abc"}

    monkeypatch.setattr(bench, "_contenders", contenders)
    bench._timings(Shape("self", 1, 1, 4, 4), torch.device("cpu"), torch.float32, repeats=2)
    assert "".join(order) == "abcabcabc" * 2  # warm-up and two repeats, forward and both ways


def test_memory_is_what_was_held_at_once():
    """The peak counts bytes that live together, freed ones no longer."""

    def work():
        for _ in range(3):
            torch.empty(1 << 20)
        both = [torch.empty(1 << 20) for _ in range(2)]
        del both

    assert peak_of(work, torch.device("cpu")) == 2 * 4 * (1 << 20)


def test_maps_that_do_not_fit_are_not_tried(monkeypatch):
    """The definition is left out with what it would have needed; nothing crashes and the rest is timed."""
    monkeypatch.setattr(bench, "_free_memory", lambda device: 1000)
    benchmark = run(repeats=1)
    eager = [t for case in benchmark.cases for t in case.timings if t.backend == "reference"]
    others = [t for case in benchmark.cases for t in case.timings if t.backend != "reference"]
    assert all(t.refused and "does not fit" in t.refused and not t.seconds for t in eager)
    assert all(t.seconds and t.to_sdpa and t.to_eager is None for t in others)
    assert _table(benchmark).row_count == len(eager) + len(others)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"dtype": "float64"}, "choose one of float32, bfloat16, float16"),
        ({"resolution": 1000}, "multiple of 32"),
        ({"resolution": 0}, "multiple of 32"),
        ({"batch": 0}, "at least 1"),
        ({"repeats": 0}, "at least 1"),
    ],
)
def test_bad_options_are_refused(changes, says):
    """One line that says what is served."""
    with pytest.raises(ConfigError, match=says):
        run(**changes)
