"""The words of a finding go no further than the intervals and tests; the plots place what they say."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from pathlib import Path

import pytest

from coeffdream.compare.result import Comparison, Contrast, Difference, Estimate, MethodRow
from coeffdream.report.study import comparison_plots
from coeffdream.report.study.comparison_plots import concept_plots, forests, mark_of, scale
from coeffdream.report.study.finding import finding, listed, signed


def difference(metric="diversity", value=-0.1, low=-0.2, high=-0.05, p_holm=0.01, by_concept=None):
    return Difference(
        metric=metric,
        baseline=2.0,
        value=2.0 + value,
        difference=Estimate(value, low, high),
        by_concept=by_concept or {"cat": value - 0.01, "mug": value + 0.01},
        win_rate=0.25,
        pairs=8,
        p=p_holm / 2,
        p_holm=p_holm,
    )


def comparison(**contrasts) -> Comparison:
    """Of a baseline called lora with the methods named."""
    rows = [MethodRow(label, label, [], 0.1, {}, {}) for label in ("lora", *contrasts)]
    made = [Contrast(label, "lora", list(each)) for label, each in contrasts.items()]
    return Comparison(
        True, ["cat", "mug"], [0], 5, 2, 10, {"clip": "C", "dino": "D"}, None, 0, 2000, 0.95, rows, made, []
    )


FIRM = difference()
OPEN = difference("dino_alignment", 0.02, 0.01, 0.03, p_holm=0.07)
NONE = difference("text_alignment", 0.001, -0.004, 0.006, p_holm=0.6)


def test_what_differs_and_what_does_not():
    """A difference needs both: an interval without zero and a corrected p at or under .05."""
    found = finding(comparison(dora=[FIRM, OPEN, NONE]))
    assert found.headline == [
        "Diversity is lower with dora than with lora.",
        "On text alignment dora cannot be told from lora; DINO alignment is undecided.",
    ]
    assert found.figures[0].startswith(
        "Diversity, dora less lora: −0.100 [−0.200, −0.050], Holm p 0.01, 25 % of 8 pairs"
    )
    assert "undecided" in found.figures[1]
    assert "text alignment −0.0040 to +0.0060" in found.limits[0]
    assert "diversity" not in found.limits[0]


def test_no_difference_at_all():
    """Then none is claimed, and how large one might still be is said."""
    found = finding(comparison(dora=[NONE]))
    assert found.headline == ["On text alignment dora cannot be told from lora."]
    assert found.figures == []
    assert "Not told apart is not equal" in found.limits[0]


def test_a_small_p_does_not_outvote_its_interval():
    """An interval that holds zero is no difference, whatever p says."""
    found = finding(comparison(dora=[difference(low=-0.2, high=0.01, p_holm=0.01)]))
    assert found.headline == ["On diversity dora cannot be told from lora."]


def test_an_unknown_interval_claims_nothing():
    """Where nothing was repeated there is none."""
    assert finding(comparison(dora=[difference(low=None, high=None)])).headline == [
        "On diversity dora cannot be told from lora."
    ]


def test_several_methods():
    """Ways of one metric in one clause; that the comparisons are not corrected for is said."""
    up = difference(value=0.1, low=0.05, high=0.2)
    found = finding(comparison(dora=[FIRM], coeff=[FIRM], other=[up], last=[difference(low=-0.2, high=0.1)]))
    assert found.headline == [
        "Diversity is lower with dora and coeff than with lora and higher with other than with lora.",
        "No other difference holds up.",
    ]
    assert len(finding(comparison(dora=[FIRM], coeff=[FIRM])).headline) == 1
    assert "not for the 4 comparisons." in found.limits[-1]


def test_methods_with_baselines_of_their_own():
    """Each is said to be more or less than the one that it was compared with."""
    whole = comparison(**{"coeff-lora": [FIRM, NONE], "dora": [NONE, NONE], "coeff-dora": [FIRM, NONE]})
    contrasts = [*whole.contrasts[:2], dataclasses.replace(whole.contrasts[2], baseline="dora")]
    found = finding(dataclasses.replace(whole, contrasts=contrasts))
    assert found.headline == [
        "Diversity is lower with coeff-lora than with lora and with coeff-dora than with dora.",
        "On text alignment no method can be told from the one that it is compared with.",
    ]
    assert found.figures[1].startswith("Diversity, coeff-dora less dora")


@pytest.mark.parametrize(
    ("value", "text"), [(0.0049, "+0.00"), (-0.0049, "+0.00"), (-0.01, "−0.01"), (1.234, "+1.23")]
)
def test_signs(value, text):
    """A true minus, and no minus before nothing."""
    assert signed(value, 2) == text


def test_lists_in_words():
    """Commas, and a word before the last."""
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"


@pytest.mark.parametrize("values", [[0.01, 0.03], [-0.2, -0.1], [0.0], [-1e-4, 2e-4]])
def test_scales_hold_zero_and_everything(values):
    """Each value, and zero with its mark, inside the field."""
    made = scale(values)
    assert all(0 < made.at(value) < 100 for value in [0.0, *values])
    assert ("0", pytest.approx(made.zero)) in [(label, at) for label, at in made.ticks]


def test_a_forest_holds_what_it_says():
    """Low, mean and high from left to right, and only what holds up is marked firm."""
    [plot] = forests(comparison(dora=[FIRM], coeff=[difference(p_holm=0.2)]))
    first, second = plot.bars
    assert first.low < first.at < first.high < plot.scale.zero
    assert (first.firm, second.firm) == (True, False)
    assert (first.method, second.method) == (1, 2)


def test_one_concept_left_out():
    """By hand: of 0, 0.3 and 0.6 the mean without one is 0.15 to 0.45."""
    by_concept = {"cat": 0.0, "mug": 0.3, "fox": 0.6}
    [plot] = concept_plots(comparison(dora=[difference(value=0.3, by_concept=by_concept)]))
    assert plot.without == [(1, "dora less lora", "+0.150 to +0.450")]
    assert [concept for concept, _ in plot.rows] == ["cat", "mug"]


def test_every_method_has_a_mark_and_neighbours_differ():
    """However many arms a study has; a number without a style would be drawn in no colour."""
    style = (Path(comparison_plots.__file__).parents[1] / "templates" / "study.css").read_text(
        encoding="utf-8"
    )
    marks = [mark_of(place) for place in range(30)]
    assert marks[0] == 0
    assert 0 not in marks[1:]
    assert all(one != two for one, two in pairwise(marks))
    assert all(f".m{mark} {{ --c: var(--m{mark}); }}" in style for mark in set(marks))
    assert {style.count(f"--m{mark}: #") for mark in set(marks)} == {2}, "light and dark"
