"""Drift among the metrics of a comparison: paired, less is better, and only where every run has it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from coeffdream.compare.comparison import compare
from coeffdream.compare.comparison_table import comparison_table
from coeffdream.compare.pairing import pair_by_method, pair_runs
from coeffdream.records.files import sha256_of_json
from coeffdream.records.scores import Drift, DriftImage

PROMPTS = 6


def with_drift(run, more: float = 0.0, **changes):
    """The run with a drift of about 0.2, the same for equal concept and seed but for `more`."""
    rng = np.random.default_rng([sum(run.concept.encode()), run.seed])
    values = 0.2 + 0.02 * rng.normal(size=PROMPTS) + more
    images = [
        DriftImage(p, 0, p, f"{p}.png", f"{p}.png", float(values[p]), 0.1, 0.3, 0.3) for p in range(PROMPTS)
    ]
    drift = Drift(
        set="unrelated",
        base_set="unrelated-base",
        prompts="unrelated",
        n=PROMPTS,
        images_per_prompt=1,
        dino=float(values.mean()),
        clip=0.1,
        text_alignment=0.3,
        base_text_alignment=0.3,
        prompts_sha256=sha256_of_json(run.concept),
        seeds_sha256=sha256_of_json(list(range(PROMPTS))),
        settings=run.scores.set.settings,
        per_image=images,
    )
    if "steps" in changes:
        changes = {"settings": replace(drift.settings, **changes)}
    return replace(run, scores=replace(run.scores, drift=replace(drift, **changes)))


def of_drift(comparison):
    return {each.metric: each for each in comparison.contrasts[0].differences}.get("drift")


@pytest.fixture
def drifting(study):
    """LoRA and coeff-lora on 6 concepts; coeff-lora drifts by .03 less."""
    return [
        with_drift(run, -0.03 if run.record.method == "coeff-lora" else 0.0) for run in study(6, 2, images=1)
    ]


def test_a_known_effect(drifting):
    """The difference is the effect, every pair is won by the one that drifts less, and Holm counts five metrics."""
    compared = compare(pair_by_method(drifting), resamples=200)
    found = of_drift(compared)
    assert found.difference.value == pytest.approx(-0.03)
    assert found.value < found.baseline
    assert (found.win_rate, found.pairs) == (1.0, 6 * 2 * PROMPTS)
    assert set(found.by_concept) == {f"thing{index}" for index in range(6)}
    assert len(compared.contrasts[0].differences) == 5
    assert found.p_holm >= found.p == 2 / 2**6
    other = [with_drift(run, 0.03 if run.record.method == "coeff-lora" else 0.0) for run in drifting]
    worse = compare(pair_by_method(other), resamples=200)
    assert of_drift(worse).win_rate == 0.0


def test_it_stands_beside_table_3(drifting):
    """Each method's own drift, after the paper's columns, and a line among the differences."""
    console = Console(width=200, force_terminal=False)
    with console.capture() as capture:
        console.print(comparison_table(compare(pair_by_method(drifting), resamples=200)))
    heading = next(line for line in capture.get().splitlines() if "Diversity" in line)
    assert heading.index("Diversity") < heading.index("Drift")
    assert "less drift is better" in capture.get()


def test_other_metrics_do_not_move(drifting, study):
    """Drawing the unrelated prompts must not change what the benchmark says."""
    bare = study(6, 2, images=1)
    with_, without = (compare(pair_by_method(runs), resamples=200) for runs in (drifting, bare))
    assert of_drift(without) is None
    for one, other in zip(with_.contrasts[0].differences, without.contrasts[0].differences, strict=False):
        assert (one.metric, one.difference, one.p) == (other.metric, other.difference, other.p)


def test_left_out_unless_every_run_has_it(drifting):
    """Half the runs say nothing about the other half; the note names them."""
    short = [replace(drifting[0], scores=replace(drifting[0].scores, drift=None)), *drifting[1:]]
    compared = compare(pair_by_method(short), resamples=200)
    assert of_drift(compared) is None
    assert all("drift" not in row.scores for row in compared.rows)
    assert any(note.startswith(f"drift is left out: {short[0].name} have none") for note in compared.notes), (
        compared.notes
    )


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"prompts_sha256": "0"}, "prompts"),
        ({"seeds_sha256": "0"}, "image seeds"),
        ({"steps": 20}, "steps"),
    ],
)
def test_left_out_when_drawn_otherwise(made, changes, named):
    """Unequal pictures are no pairs; the field is named, and the benchmark is still compared."""
    compared = compare(pair_runs([with_drift(made()), with_drift(made("dora"), **changes)]), resamples=100)
    assert of_drift(compared) is None
    assert f"drift is left out: the {named} of its pictures differ between runs" in compared.notes
    assert compared.contrasts[0].differences


def test_one_pair_of_runs(made):
    """Prompts take the place of concepts, as for the other metrics."""
    compared = compare(pair_runs([with_drift(made()), with_drift(made("dora"), 0.05)]), resamples=200)
    found = of_drift(compared)
    assert found.difference.value == pytest.approx(0.05)
    assert found.difference.low <= 0.05 + 1e-12
    assert found.win_rate == 0.0
