"""What cells say together, on cells whose answer is known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats

from coeffdream.studies.arms_figure import draw_arms
from coeffdream.studies.summary import ALL, mean, paired_p, summarize
from coeffdream.studies.vit import Cell

ACCURACY = {
    ("digits", "lora"): (0.80, 0.82, 0.84),
    ("digits", "coeff-lora"): (0.81, 0.85, 0.86),
    ("count", "lora"): (0.50, 0.52, 0.54),
    ("count", "coeff-lora"): (0.47, 0.52, 0.51),
}
AGAINST = {"coeff-lora": "lora"}
CELLS = [
    Cell(task, arm, seed, accuracy, 100, 0.5, 4160, 650, 0.005, {})
    for (task, arm), accuracies in ACCURACY.items()
    for seed, accuracy in enumerate(accuracies)
]


def test_accuracies_and_what_alpha_added():
    """By hand: +.02 on digits, -.02 on counting, nothing on the whole; intervals are Student's, paired by seed."""
    without, with_alpha = summarize(CELLS, AGAINST)
    assert (without.arm, without.gained) == ("lora", None)
    assert with_alpha.against == "lora"
    assert with_alpha.accuracy["digits"].value == pytest.approx(0.84)
    assert {task: each.value for task, each in with_alpha.gained.items()} == pytest.approx(
        {"digits": 0.02, "count": -0.02, ALL: 0.0}
    )
    pairs = np.array(ACCURACY["digits", "coeff-lora"]) - ACCURACY["digits", "lora"]
    expected = stats.ttest_1samp(pairs, 0).confidence_interval(0.95)
    gained = with_alpha.gained["digits"]
    assert (gained.low, gained.high) == pytest.approx((expected.low, expected.high))


def test_of_several_tasks_a_seed_counts_once():
    """Six differences are not six independent ones: the interval over tasks is of three seeds' means."""
    _, with_alpha = summarize(CELLS, AGAINST)
    seeds = np.array([(0.01 - 0.03) / 2, (0.03 + 0.0) / 2, (0.02 - 0.03) / 2])
    expected = stats.ttest_1samp(seeds, 0).confidence_interval(0.95)
    gained = with_alpha.gained[ALL]
    assert (gained.low, gained.high) == pytest.approx((expected.low, expected.high))
    assert with_alpha.p == pytest.approx(stats.ttest_1samp(seeds, 0).pvalue)


def test_p_is_corrected_for_the_arms():
    """Holm's, over the arms that are compared; one arm alone keeps its own."""
    [_, one] = summarize(CELLS, AGAINST)
    assert one.p_holm == one.p
    worse = [dataclasses.replace(cell, arm="dora", accuracy=cell.accuracy - 0.3) for cell in CELLS[:3]]
    worse += [dataclasses.replace(cell, arm="dora", accuracy=cell.accuracy - 0.2) for cell in CELLS[6:9]]
    _, same, lower = summarize([*CELLS, *worse], {**AGAINST, "dora": "lora"})
    assert same.p == one.p
    assert (lower.p_holm, same.p_holm) == (2 * lower.p, same.p)


def test_p_where_every_seed_differs_alike():
    """Student's t has no error to divide by; nothing differs, or everything does."""
    assert paired_p(np.zeros(3)) == 1.0
    assert paired_p(np.full(4, 0.25)) == 0.0
    assert paired_p(np.array([0.1, 0.2])) is None


def test_seeds_are_paired_by_their_number_not_their_place():
    """A study that was extended reads its cells in another order."""
    shuffled = [*CELLS[:3], *CELLS[5:2:-1], *CELLS[6:]]
    assert summarize(shuffled, AGAINST) == summarize(CELLS, AGAINST)


def test_two_seeds_have_no_interval():
    """Student's t of two is 12.7 standard errors wide and says nothing."""
    assert mean(np.array([0.5, 0.6])).low is None
    assert mean(np.array([0.5, 0.5, 0.5])).low == 0.5


def test_an_arm_without_its_other_half_has_no_gain():
    alone = [cell for cell in CELLS if cell.arm == "coeff-lora"]
    [summary] = summarize(alone, AGAINST)
    assert (summary.against, summary.gained, summary.p_holm) == (None, None, None)


def test_the_figure(tmp_path):
    """A panel for every task and one of the mean; equal numbers are equal bytes."""
    files = [
        draw_arms(summarize(CELLS, AGAINST), CELLS, ["coeff-lora"], "test pictures", tmp_path / name)
        for name in ("once", "again")
    ]
    assert [file.suffix for file in files[0]] == [".png", ".svg"]
    assert [file.read_bytes() for file in files[0]] == [file.read_bytes() for file in files[1]]
