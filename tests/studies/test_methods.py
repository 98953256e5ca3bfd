"""`study methods`: its arms are those of bench concepts, its pairs a method and the same beside alpha."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from coeffdream.cli import cells
from coeffdream.compare.result import Comparison, Contrast, Difference, Estimate, MethodRow
from coeffdream.errors import ConfigError
from coeffdream.records.arms import read_arms
from coeffdream.studies.methods import DEFAULT, MethodsOptions, finding, pairs

METRICS = ("text_alignment", "diversity")


def contrast(label: str, baseline: str, low: float, high: float) -> Contrast:
    middle = Estimate((low + high) / 2, low, high)
    rows = [Difference(metric, 0.5, 0.5, middle, {"cat": 0.0}, 0.5, 25, 0.5, 1.0) for metric in METRICS]
    return Contrast(label, baseline, rows)


@pytest.fixture
def comparison() -> Comparison:
    rows = [MethodRow(name, name, [], 0.1, {}, {}) for name in ("oft", "coeff-oft", "ia3", "coeff-ia3")]
    contrasts = [
        contrast("coeff-oft", "oft", 0.01, 0.03),
        contrast("ia3", "oft", -0.2, -0.1),
        contrast("coeff-ia3", "ia3", -0.01, 0.02),
    ]
    told = {"concepts": ["cat"], "training_seeds": [0], "prompts": 25, "images_per_prompt": 1, "n": 25}
    resampled = {"encoders": {}, "label": None, "seed": 0, "resamples": 9, "level": 0.95}
    return Comparison(grouped=True, **told, **resampled, rows=rows, contrasts=contrasts, notes=[])


def test_the_arms_are_pairs_and_a_file_of_bench_concepts(tmp_path: Path) -> None:
    options = MethodsOptions()
    options.check()
    assert len(DEFAULT) >= 8
    assert list(options.arms) == [arm for name in DEFAULT for arm in (name, f"coeff-{name}")]
    file = tmp_path / "arms.toml"
    file.write_text(options.arms_text)
    assert read_arms(file) == options.arms


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"methods": "oft,oft"}, "names oft twice"),
        ({"methods": "coeff-oft"}, "'coeff-oft' is no method beside which"),
        ({"methods": "oft,,"}, "'' is no method"),
        ({"seeds": 0}, "--seeds 0 must be at least 1"),
        ({"lr": -1.0}, "--lr -1.0 must be a positive number"),
    ],
)
def test_what_makes_no_study_is_said(values, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        MethodsOptions(**values).check()


def test_a_method_is_compared_with_itself_beside_alpha_alone(comparison: Comparison) -> None:
    found = list(pairs(comparison))
    assert [each.title for each in found] == ["coeff-oft less oft", "coeff-ia3 less ia3"]
    assert finding(found)[0] == (
        "text_alignment: with alpha higher beside 2 of 2 methods; the interval is above zero for 1 and below for 0"
    )


def test_too_few_concepts_are_said_to_make_no_interval() -> None:
    """A missing interval is none that holds zero."""
    unknown = [
        dataclasses.replace(each, difference=Estimate(0.02, None, None))
        for each in contrast("coeff-oft", "oft", 0, 1).differences
    ]
    assert finding([Contrast("coeff-oft", "oft", unknown)])[0] == (
        "text_alignment: with alpha higher beside 1 of 1 method; fewer than three concepts make no interval"
    )


def test_the_command_writes_table_figure_and_numbers(
    comparison: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    from coeffdream.cli.study import app

    planned = []

    def run(plan, *rest):
        planned.append(plan)
        return comparison

    monkeypatch.setattr(cells, "run_study", run)
    out = tmp_path / "out"
    answer = CliRunner().invoke(
        app, ["methods", "--methods", "oft,ia3", "--concepts", "cat", "--out", str(out)]
    )
    assert answer.exit_code == 0, answer.output
    assert "+0.020" in answer.output
    [plan] = planned
    plan.check()
    assert (plan.base, plan.methods) == ("toybox", ["oft", "coeff-oft", "ia3", "coeff-ia3"])
    numbers = json.loads((out / "numbers.json").read_text())
    assert [each["label"] for each in numbers["alpha_adds"]] == ["coeff-oft", "coeff-ia3"]
    assert (out / "figure.png").is_file()
    assert (out / "figure.svg").is_file()
