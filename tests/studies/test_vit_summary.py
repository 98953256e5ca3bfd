"""What cells say together, on cells whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from coeffdream.studies.vit import Cell
from coeffdream.studies.vit_figure import draw_vit
from coeffdream.studies.vit_summary import ALL, mean, summarize

ACCURACY = {
    ("digits", "lora"): (0.80, 0.82, 0.84),
    ("digits", "coeff-lora"): (0.81, 0.85, 0.86),
    ("count", "lora"): (0.50, 0.52, 0.54),
    ("count", "coeff-lora"): (0.47, 0.52, 0.51),
}
CELLS = [
    Cell(task, arm, seed, accuracy, 100, 0.5, 4160, 650, 0.005, {})
    for (task, arm), accuracies in ACCURACY.items()
    for seed, accuracy in enumerate(accuracies)
]


def test_accuracies_and_what_alpha_added():
    """By hand: +.02 on digits, -.02 on counting, nothing on the whole; intervals are Student's, paired by seed."""
    without, with_alpha = summarize(CELLS)
    assert (without.arm, without.gained) == ("lora", None)
    assert with_alpha.without == "lora"
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
    _, with_alpha = summarize(CELLS)
    seeds = np.array([(0.01 - 0.03) / 2, (0.03 + 0.0) / 2, (0.02 - 0.03) / 2])
    expected = stats.ttest_1samp(seeds, 0).confidence_interval(0.95)
    gained = with_alpha.gained[ALL]
    assert (gained.low, gained.high) == pytest.approx((expected.low, expected.high))


def test_seeds_are_paired_by_their_number_not_their_place():
    """A study that was extended reads its cells in another order."""
    shuffled = [*CELLS[:3], *CELLS[5:2:-1], *CELLS[6:]]
    assert summarize(shuffled) == summarize(CELLS)


def test_two_seeds_have_no_interval():
    """Student's t of two is 12.7 standard errors wide and says nothing."""
    assert mean(np.array([0.5, 0.6])).low is None
    assert mean(np.array([0.5, 0.5, 0.5])).low == 0.5


def test_an_arm_without_its_other_half_has_no_gain():
    alone = [cell for cell in CELLS if cell.arm == "coeff-lora"]
    [summary] = summarize(alone)
    assert (summary.without, summary.gained) == (None, None)


def test_the_figure(tmp_path):
    """A panel for every task and one of the mean; equal numbers are equal bytes."""
    files = [draw_vit(summarize(CELLS), CELLS, tmp_path / name) for name in ("once", "again")]
    assert [file.suffix for file in files[0]] == [".png", ".svg"]
    assert [file.read_bytes() for file in files[0]] == [file.read_bytes() for file in files[1]]
