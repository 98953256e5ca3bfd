"""`coeffdream report` as a person calls it, on runs that training left and on none."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

from coeffdream.records.claim import claimed

SPEC = importlib.util.spec_from_file_location(
    "made_up_runs", Path(__file__).parents[1] / "report" / "conftest.py"
)
made_up_runs = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = made_up_runs  # dataclasses look their module up
SPEC.loader.exec_module(made_up_runs)


def text_of(run) -> str:
    """The words of a run's page, without its markup."""
    return re.sub(r"<[^>]*>", "", (run.path / "report.html").read_text(encoding="utf-8"))


def test_report_of_the_latest_run(cli, run_of):
    """Without a name it is the latest run's; the page lies in the run, which is otherwise untouched."""
    run = run_of("coeff-lora")
    answer = cli("report")
    assert answer.status == 0, answer.err
    assert "runs/cat-coeff-lora/report.html" in answer.err
    text = text_of(run)
    assert "There are no pictures yet" in text
    assert f"coeffdream generate --run {run.read().name}" in text


def test_report_as_json(cli, run_of):
    """The path and the size, for a program."""
    run = run_of("lora")
    told = json.loads(cli("report", run.path, "--json").out)
    assert told["report"] == str(run.path / "report.html")
    assert told["bytes"] == (run.path / "report.html").stat().st_size


def test_no_run_at_all(cli):
    """One line with the command that makes one."""
    answer = cli("report")
    assert answer.status == 2
    assert answer.complaint == ["error: no run in runs yet; start with: coeffdream train --concept FOLDER"]


def test_a_set_that_is_not_there(cli, run_of):
    """The line names it; no half page is left."""
    run = run_of("lora")
    answer = cli("report", "--set", "holiday")
    assert answer.status == 2
    assert len(answer.complaint) == 1
    assert "no set called 'holiday'" in answer.complaint[0]
    assert not (run.path / "report.html").exists()


def test_a_damaged_record(cli, run_of):
    """A log that is no JSON is named, with the line, instead of ending in a traceback."""
    run = run_of("lora")
    run.log.write_text('{"step": 1, "loss"')
    answer = cli("report")
    assert answer.status == 2
    assert "train.jsonl is damaged" in answer.complaint[0]
    run.log.write_text("[1, 2]\n")
    answer = cli("report")
    assert answer.status == 2
    assert "line 1 is no training step" in answer.complaint[0]


def test_an_interrupted_run(cli, run_of):
    """It says how far it came and how to go on."""
    run = run_of("lora")
    run.write(dataclasses.replace(run.read(), status="interrupted", steps_done=0))
    assert cli("report").status == 0
    text = text_of(run)
    assert "interrupted after 0 of 1 steps" in text
    assert f"coeffdream train --resume {run.read().name}" in text


def test_a_run_that_was_killed(cli, run_of):
    """No process is at it any more: that is said here and on the page, with the way on, and in --json."""
    run = run_of("lora")
    run.write(dataclasses.replace(run.read(), status="training", steps_done=0))
    answer = cli("report")
    assert answer.status == 0, answer.err
    assert f"{run.path.name}: killed after 1 of 1 steps; no step is kept" in answer.err
    assert f"coeffdream train --resume {run.path.name}" in text_of(run)
    assert json.loads(cli("report", "--json").out)["state"] == "killed"


def test_a_run_in_training(cli, run_of):
    """While a process is at it, its page refreshes itself and nobody is told to resume."""
    run = run_of("lora")
    run.write(dataclasses.replace(run.read(), status="training", steps_done=0))
    with claimed(run.path, "train", "", ""):
        answer = cli("report")
    assert f"{run.path.name}: training, 1 of 1 steps" in answer.err
    assert "--resume" not in text_of(run)


@pytest.fixture
def study(tmp_path):
    """tmp_path/study: two concepts, two methods, one cell of the four not made."""
    builder = made_up_runs.StudyBuilder(tmp_path, ("cat", "mug"), ("lora", "coeff-lora"))
    return builder.finish("mug-coeff-lora-seed0").folder


def test_report_of_a_study(cli, study):
    """What is there decides: study.json makes it a study. What is missing and what was found are said at once."""
    answer = cli("report", "study")
    assert answer.status == 0, answer.err
    assert "1 of 4 cells are not finished" in answer.err
    assert "embedded scorers" in answer.err
    assert "report of study: study/report.html" in answer.err
    assert "--study study" in text_of(study)


def test_report_of_a_study_as_json(cli, study):
    """The path, the size, how far it is and the finding, for a program."""
    told = json.loads(cli("report", study.path, "--json").out)
    assert told["report"] == str(study.path / "report.html")
    assert told["bytes"] == (study.path / "report.html").stat().st_size
    assert (told["cells"], told["finished"]) == (4, 3)
    assert told["finding"]


def test_report_of_a_cell(cli, study):
    """A run inside a study is a run."""
    answer = cli("report", study.path / "runs" / "cat-lora-seed0")
    assert answer.status == 0, answer.err
    assert (study.path / "runs" / "cat-lora-seed0" / "report.html").is_file()
    assert not (study.path / "report.html").exists()


def test_a_set_of_a_study(cli, study):
    """--set is of a run; it is not passed over."""
    answer = cli("report", "study", "--set", "holiday")
    assert answer.status == 2
    assert len(answer.complaint) == 1
    assert "study is a study" in answer.complaint[0]


def test_neither_run_nor_study(cli, tmp_path):
    """One line that says what each would hold; a name that is nothing at all gets find_run's."""
    (tmp_path / "holiday").mkdir()
    answer = cli("report", "holiday")
    assert answer.status == 2
    assert len(answer.complaint) == 1
    assert "holiday is neither a run (no run.json in it) nor a study (no study.json)" in answer.complaint[0]
    answer = cli("report", "nothing")
    assert answer.status == 2
    assert len(answer.complaint) == 1
    assert "no run called 'nothing'" in answer.complaint[0]
