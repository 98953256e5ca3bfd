"""`coeffdream compare` called as a person calls it, on runs whose scores are made up."""

from __future__ import annotations

import csv
import importlib.util
import json
import shutil
from itertools import permutations
from pathlib import Path

import pytest

from coeffdream.records.latest import point_latest_at
from coeffdream.records.run import RunFolder
from coeffdream.records.scores import write_scores

SPEC = importlib.util.spec_from_file_location(
    "made_up_scores", Path(__file__).parents[1] / "compare" / "conftest.py"
)
made_up_scores = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(made_up_scores)


@pytest.fixture
def runs(tmp_path):
    """Two methods on two concepts in tmp_path/runs, all scored."""
    names = []
    for method, effect in (("lora", 0.0), ("coeff-lora", 0.02)):
        for concept in ("cat", "mug"):
            run = made_up_scores.scored_run(method, concept, effect=effect)
            folder = RunFolder(tmp_path / "runs" / run.name)
            folder.path.mkdir(parents=True)
            folder.write(run.record)
            write_scores(folder.scores, run.scores)
            point_latest_at(folder.path)
            names.append(run.name)
    return names


def test_two_runs(cli, runs):
    """By name, in any order; the low-rank twin is the baseline; what one concept cannot say is said."""
    answer = cli("compare", "cat-coeff-lora-0", "cat-lora-0", "--resamples", 200)
    assert answer.out == cli("compare", "cat-lora-0", "cat-coeff-lora-0", "--resamples", 200).out
    assert answer.status == 0, answer.err
    assert "cat-coeff-lora-0 less cat-lora-0" in answer.out
    assert "# Params" in answer.out
    assert "speak of 'cat' only" in answer.out


def test_every_order_of_the_runs_prints_the_same(cli, runs):
    """A shell sorts runs/* its own way; the words on the screen must not depend on it."""
    orders = permutations(runs)
    printed = {cli("compare", *order, "--by", "method", "--resamples", 100).out for order in orders}
    assert len(printed) == 1
    assert "coeff-lora less lora" in printed.pop()


def test_another_baseline(cli, runs):
    """Of two runs the person may say which is held against which; a name that is none of them is refused."""
    pair = ("compare", "cat-lora-0", "cat-coeff-lora-0", "--resamples", 100)
    assert "cat-lora-0 less cat-coeff-lora-0" in cli(*pair, "--baseline", "cat-coeff-lora-0").out
    assert "cat-lora-0 less cat-coeff-lora-0" in cli(*pair, "--baseline", "runs/cat-coeff-lora-0").out
    refused = cli(*pair, "--baseline", "mug-lora-0")
    assert refused.status == 2
    assert "--baseline 'mug-lora-0' is none of the runs to compare" in refused.complaint[0]
    assert cli(*pair, "--by", "method", "--baseline", "cat-lora-0").status == 2


@pytest.mark.parametrize("latest", ["link", "copy", "text"])
def test_by_method_with_files(latest, cli, runs, tmp_path):
    """By folder, `runs/latest` of every form counted once; JSON on standard output alone, files named beside."""
    if latest != "link":
        (tmp_path / "runs" / "latest").unlink()
    if latest == "copy":
        shutil.copytree(tmp_path / "runs" / runs[-1], tmp_path / "runs" / "latest")
    if latest == "text":
        (tmp_path / "runs" / "latest").write_text(f"{runs[-1]}\n")
    folders = [tmp_path / "runs" / name for name in (*runs, "latest")]
    files = ("--csv", "out/scores.csv", "--latex", "out/scores.tex")
    answer = cli("compare", *folders, "--by", "method", "--resamples", 200, "--json", *files)
    assert answer.status == 0, answer.err
    result = json.loads(answer.out)
    assert [row["label"] for row in result["rows"]] == ["lora", "coeff-lora"]
    assert result["concepts"] == ["cat", "mug"]
    assert result["contrasts"][0]["differences"][0]["difference"]["value"] == pytest.approx(0.02, abs=0.01)
    with (tmp_path / "out/scores.csv").open(encoding="utf-8") as stream:
        assert len(list(csv.DictReader(stream))) == 8
    assert r"\toprule" in (tmp_path / "out/scores.tex").read_text(encoding="utf-8")
    assert "written: out/scores.csv" in answer.err


def test_the_seed_decides_the_numbers(cli, runs):
    """Twice the same line gives the same bytes."""
    line = ("compare", "cat-lora-0", "cat-coeff-lora-0", "--resamples", 200, "--json", "--seed")
    assert cli(*line, 3).out == cli(*line, 3).out != cli(*line, 4).out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["cat-lora-0"], "1 of the two runs that a comparison needs"),
        (["cat-lora-0", "mug-lora-0"], "concept differs: 'cat' in cat-lora-0, 'mug' in mug-lora-0"),
        (["cat-lora-0", "dog"], "no run called 'dog'"),
        (["cat-lora-0", "mug-lora-0", "--by", "method"], "1 of the two methods"),
        (["cat-lora-0", "cat-coeff-lora-0", "--resamples", "5"], "--resamples 5 must be at least 100"),
        (["cat-lora-0", "cat-coeff-lora-0", "--seed", "-1"], "--seed -1 must not be negative"),
    ],
)
def test_bad_requests(cli, runs, arguments, says):
    """One line, status 2, nothing on standard output."""
    answer = cli("compare", *arguments)
    assert answer.status == 2
    assert answer.out == ""
    assert len(answer.complaint) == 1
    assert says in answer.complaint[0]


def test_a_run_without_scores(cli, runs, tmp_path):
    """The command that makes them is named."""
    (tmp_path / "runs" / "cat-lora-0" / "scores.json").unlink()
    answer = cli("compare", "cat-lora-0", "cat-coeff-lora-0")
    assert answer.status == 2
    assert answer.complaint == ["error: no scores.json: cat-lora-0; run: coeffdream eval cat-lora-0"]


def test_unequal_runs(cli, runs, tmp_path):
    """The field and both values, and no file is written."""
    file = tmp_path / "runs" / "cat-coeff-lora-0" / "scores.json"
    value = json.loads(file.read_text(encoding="utf-8"))
    value["score_text"] = "stripped"
    file.write_text(json.dumps(value), encoding="utf-8")
    answer = cli("compare", "cat-lora-0", "cat-coeff-lora-0", "--csv", "out.csv")
    assert answer.status == 2
    assert "score text is class in cat-lora-0, stripped in cat-coeff-lora-0" in answer.complaint[0]
    assert not (tmp_path / "out.csv").exists()
