"""A study seen from a second terminal."""

from __future__ import annotations

import json
import sys
import time

import pytest

from coeffdream.bench.concepts import open_study
from coeffdream.bench.status import study_status
from coeffdream.cli.app import main
from coeffdream.cli.terminal import last_progress
from coeffdream.data.shipped import shipped
from coeffdream.errors import RunError
from coeffdream.records.study import StudyFolder
from coeffdream.records.study_journal import Journal, Now, Running, StageEnd, at, sort_of
from coeffdream.records.study_plan import Study

TOOK = {
    "train": 40.0,
    "generate": 20.0,
    "generate --no-adapter": 10.0,
    "generate --unrelated": 10.0,
    "eval": 20.0,
}


@pytest.fixture
def study():
    folders = [str(shipped(f"concepts/{name}")) for name in ("cat", "teapot")]
    return Study(folders, ["lora", "coeff-lora"], base="toybox")


@pytest.fixture
def begun(study, tmp_path):
    """One cell of four done, one failed, one in the middle of its training, one waiting; held while the block lasts."""
    with open_study(tmp_path, study) as cells:
        journal, began = Journal(tmp_path), at(time.time() - 30)
        for command, seconds in TOOK.items():
            journal.add(StageEnd(cells[0].name, command, began, seconds, 0))
        journal.add(StageEnd(cells[1].name, "train", began, 40.0, 2))
        StudyFolder(tmp_path).run(cells[0]).path.mkdir(parents=True)
        StudyFolder(tmp_path).run(cells[0]).scores.write_text("{}")
        running = Running(cells[2].name, "train", 1, 5, began)
        journal.set_now(Now(began, "2 cells at a time on this machine", 2, [running]))
        log = StudyFolder(tmp_path).log(cells[2])
        log.parent.mkdir()
        log.write_text("$ coeffdream train\ntraining 40/200 (2.00/s, 80 s left) loss 0.1\n")
        yield cells


def test_what_is_going_on(begun, tmp_path):
    """Three cells of 100 s each, 30 s into one of them, on two workers."""
    found = study_status(tmp_path, last_progress)
    assert (found.cells, found.done, found.failed) == (4, 1, [begun[1].name])
    [cell] = found.running
    assert (cell.cell, cell.command, cell.number, cell.commands) == (begun[2].name, "train", 1, 5)
    assert (cell.stage, cell.steps, cell.of) == ("training", 40, 200)
    assert 30 <= cell.seconds < 60
    assert (300 - 40) / 2 <= found.left <= (300 - 30) / 2
    assert "(bench concepts)" in found.by


def test_a_study_that_nobody_is_at(study, begun, tmp_path):
    """A process that was killed left its last word in now.json; it is not believed."""
    copy = tmp_path.with_name("copy")
    (copy / "logs").mkdir(parents=True)
    for name in ("study.json", "stages.jsonl", "now.json"):
        (copy / name).write_bytes((tmp_path / name).read_bytes())
    found = study_status(copy, last_progress)
    assert (found.by, found.running, found.left) == (None, [], None)


def test_the_command(begun, tmp_path, monkeypatch, capsys):
    """For a person and for a program."""

    def said(*more):
        monkeypatch.setattr(sys, "argv", ["coeffdream", "bench", "status", str(tmp_path), *more])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0
        return capsys.readouterr().out

    shown = said()
    assert "1 of 4 cells done" in shown
    assert "2 cells at a time on this machine; about 0:02:" in shown
    assert "training 40/200" in shown
    assert f"failed: {begun[1].name}" in shown
    told = json.loads(said("--json"))
    assert told["done"] == 1
    assert told["running"][0]["steps"] == 40


def test_a_folder_that_holds_no_study(tmp_path):
    """Said, with what to give."""
    with pytest.raises(RunError, match="holds no study"):
        study_status(tmp_path, last_progress)


def test_sorts_of_commands():
    """What one cell's command took is what another's will take."""
    assert (
        sort_of(["generate", "--run", "cat-lora-seed0", "--unrelated", "--no-grid"]) == "generate --unrelated"
    )
    assert sort_of(["eval", "cat-lora-seed0"]) == "eval"
