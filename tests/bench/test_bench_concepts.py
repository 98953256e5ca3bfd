"""The study: every cell once, whatever happens in between, and a table at the end."""

from __future__ import annotations

import dataclasses
import json
import sys
from types import SimpleNamespace

import pytest

from coeffdream.bench import concepts
from coeffdream.bench.concepts import open_study, run_cells, stages
from coeffdream.cli.app import main
from coeffdream.data.shipped import shipped
from coeffdream.errors import ConfigError, RunError
from coeffdream.progress import silent
from coeffdream.records.study import Cell, Study, StudyFolder


@pytest.fixture
def study():
    """Two concepts, two methods, hardly trained: four cells."""
    folders = [str(shipped(f"concepts/{name}")) for name in ("cat", "teapot")]
    return Study("toybox", folders, ["lora", "coeff-lora"], 1, steps=2, images_per_prompt=1, sampling_steps=1)


@pytest.fixture
def in_process(monkeypatch):
    """The stages run here instead of in processes of their own; `fail` names a cell and stage to break."""
    ran: list[tuple[str, str]] = []
    fail: set[tuple[str, str]] = set()

    def run(command, **options):
        arguments = command[3:]
        cell = arguments[arguments.index("--name" if "--name" in arguments else "--run") + 1]
        if (cell, arguments[0]) in fail:
            options["stdout"].write(b"error: the disk is full\n")
            return SimpleNamespace(returncode=2)
        ran.append((cell, arguments[0]))
        monkeypatch.setattr(sys, "argv", ["coeffdream", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return SimpleNamespace(returncode=ended.value.code)

    monkeypatch.setattr(concepts, "subprocess", SimpleNamespace(run=run))
    return SimpleNamespace(ran=ran, fail=fail)


def test_a_study_that_was_stopped_goes_on(study, in_process, tmp_path, monkeypatch, capsys):
    """A finished cell is never run again, a broken one is named, and a broken one keeps its finished stages."""
    broken = "teapot-lora-seed0"
    in_process.fail.add((broken, "generate"))
    with pytest.raises(
        RunError, match=f"{broken}: coeffdream generate ended with 2: error: the disk is full"
    ):
        run_cells(tmp_path, study, open_study(tmp_path, study), 1, silent)
    before = list(in_process.ran)
    assert len(before) == 3 * 3 + 1
    in_process.fail.clear()
    todo = open_study(tmp_path, study)
    assert [cell.name for cell in todo] == [broken]
    run_cells(tmp_path, study, todo, 1, silent)
    assert in_process.ran[len(before) :] == [(broken, "generate"), (broken, "eval")]
    assert open_study(tmp_path, study) == []

    options = ["--study", str(tmp_path), "--base", "toybox", "--steps", "2", "--images-per-prompt", "1"]
    given = ["--concepts", *study.concepts]
    argv = ["coeffdream", "bench", "concepts", *options, "--sampling-steps", "1", *given, "--json"]
    monkeypatch.setattr(sys, "argv", argv)
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    compared = json.loads(capsys.readouterr().out)
    assert compared == json.loads((tmp_path / "comparison.json").read_text())
    assert len(in_process.ran) == len(before) + 2


def test_another_plan_is_refused(study, tmp_path):
    """Cells of two plans in one folder would be compared as if they were one."""
    open_study(tmp_path, study)
    with pytest.raises(ConfigError, match="steps was 2 and is now 3"):
        open_study(tmp_path, dataclasses.replace(study, steps=3))


def test_what_makes_no_study(study):
    """Every problem of a plan is named at once."""
    twice = dataclasses.replace(study, concepts=study.concepts * 2, methods=["lora", "lora"], seeds=0)
    with pytest.raises(ConfigError) as caught:
        twice.check()
    for part in ("two concepts are called cat", "method lora is named twice", "--seeds 0"):
        assert part in str(caught.value)


def test_cells_differ_in_nothing_but_their_place(study, tmp_path):
    """The methods of one concept and seed get the same options, or the pairs would not be pairs."""
    lora, mixed = (
        stages(tmp_path, study, Cell(study.concepts[0], method, 0))[0] for method in ("lora", "coeff-lora")
    )
    different = [(a, b) for a, b in zip(lora, mixed, strict=True) if a != b]
    assert different == [("lora", "coeff-lora"), ("cat-lora-seed0", "cat-coeff-lora-seed0")]
    assert (
        StudyFolder(tmp_path).run(Cell(study.concepts[0], "lora", 0)).path
        == tmp_path / "runs" / "cat-lora-seed0"
    )
