"""The study: every cell once, whatever happens in between, and a table at the end."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import time

import psutil
import pytest

from coeffdream.bench.concepts import open_study, run_cells, stages
from coeffdream.cli.app import main
from coeffdream.errors import ConfigError, InUseError, RunError
from coeffdream.progress import silent
from coeffdream.records.run import new_run
from coeffdream.records.scores import read_scores
from coeffdream.records.study import StudyFolder
from coeffdream.records.study_plan import Cell


def go_through(folder, study, in_process) -> list[str]:
    """Run what is to do of a study; the names of those cells."""
    with open_study(folder, study) as todo:
        run_cells(folder, study, todo, in_process.engine(), silent)
        return [cell.name for cell in todo]


def test_a_study_that_was_stopped_goes_on(study, in_process, few_prompts, tmp_path, monkeypatch, capsys):
    """A finished cell is never run again, a broken one is named, and a broken one keeps its finished stages."""
    broken = "teapot-lora-seed0"
    in_process.fail.add((broken, "generate"))
    with pytest.raises(
        RunError, match=f"{broken}: coeffdream generate ended with 2: error: the disk is full"
    ):
        go_through(tmp_path, study, in_process)
    before = list(in_process.ran)
    assert len(before) == 3 * 5 + 1
    in_process.fail.clear()
    assert go_through(tmp_path, study, in_process) == [broken]
    left = ["generate", "generate --no-adapter", "generate --unrelated", "eval"]
    assert in_process.ran[len(before) :] == [(broken, stage) for stage in left]
    assert go_through(tmp_path, study, in_process) == []

    # Floor and drift in every cell, and the untouched base's pictures drawn by one of them alone.
    scores = {cell: read_scores(StudyFolder(tmp_path).run(cell).scores) for cell in study.cells}
    assert all(each.floor and each.drift for each in scores.values())
    for concept in study.concepts:
        one, two = (scores[Cell(concept, method, 0)] for method in study.methods)
        assert one.set.seeds_sha256 == two.set.seeds_sha256
        assert one.drift.seeds_sha256 == two.drift.seeds_sha256
        assert one.floor == two.floor
        assert one.drift.base_text_alignment == two.drift.base_text_alignment
        later = StudyFolder(tmp_path).run(Cell(concept, study.methods[1], 0)).images
        assert all(path.stat().st_nlink == 2 for path in (later / "benchmark-base").glob("*.png"))

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
    assert len(in_process.ran) == len(before) + len(left)
    metrics = [each["metric"] for each in compared["contrasts"][0]["differences"]]
    assert {"drift", "background_leak"} <= set(metrics)


def running(session: int) -> list[int]:
    """The processes of a session that have not ended."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


@pytest.mark.slow
def test_a_study_that_was_killed_goes_on(study, in_process, tmp_path):
    """SIGKILL in the middle of the second cell: nothing goes on behind its back, and nothing finished is made again."""
    study = dataclasses.replace(study, concepts=study.concepts[:1])
    first, second = (StudyFolder(tmp_path).run(cell) for cell in study.cells)
    command = [sys.executable, "-m", "coeffdream", "bench", "concepts", *study.concepts, "--base", "toybox"]
    command += ["--steps", "2", "--images-per-prompt", "1", "--sampling-steps", "1", "--study", str(tmp_path)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("COV_")}
    with (tmp_path / "printed").open("wb") as printed:
        going = subprocess.Popen(
            [*command, "--device", "cpu"],
            stdout=printed,
            stderr=printed,
            env=environment,
            start_new_session=True,
        )
    study = dataclasses.replace(study, device="cpu")
    while not (second.images / "benchmark" / "images.jsonl").exists():
        assert going.poll() is None, (tmp_path / "printed").read_text()
        time.sleep(0.05)
    going.kill()
    going.wait()
    while running(going.pid):  # the stage that was going on saves its state and ends by itself
        time.sleep(0.05)
    assert first.scores.is_file()
    assert not second.scores.is_file()
    done = {path: path.stat().st_mtime_ns for path in first.path.rglob("*") if path.is_file()}
    adapter = (second.adapter / "pytorch_lora_weights.safetensors").stat().st_mtime_ns
    assert go_through(tmp_path, study, in_process) == [second.path.name]
    assert read_scores(second.scores).overall.n == 25
    assert {path: path.stat().st_mtime_ns for path in first.path.rglob("*") if path.is_file()} == done
    assert (second.adapter / "pytorch_lora_weights.safetensors").stat().st_mtime_ns == adapter
    assert in_process.ran[0] == (second.path.name, "generate")


class TestWhatAKillLeaves:
    """A cell whose folder is half made is made; one that is damaged fails alone."""

    @pytest.fixture
    def performed(self, study, tmp_path, threads):
        """Go through the study with commands that only note what they were asked; the training of each cell."""

        def went():
            ran = []

            def perform(arguments, log):
                ran.append(arguments)
                return 0

            with open_study(tmp_path, study) as todo:
                run_cells(tmp_path, study, todo, threads(perform), silent)
            return [arguments for arguments in ran if arguments[0] == "train"]

        return went

    @pytest.mark.parametrize("left", [[], [".lock", ".holder.json"]])
    def test_a_husk(self, left, study, performed, tmp_path):
        """The training is asked to take the folder over, under the cell's own name."""
        run = StudyFolder(tmp_path).run(study.cells[0])
        run.path.mkdir(parents=True)
        for name in left:
            (run.path / name).touch()
        assert "--name" in performed()[0]
        with new_run(run.path.name, run.path.parent) as taken:
            assert taken.path == run.path

    def test_a_folder_without_its_record(self, study, performed, tmp_path):
        """What is in it is kept beside, out of the way of the cell's name."""
        run = StudyFolder(tmp_path).run(study.cells[0])
        run.samples.mkdir(parents=True)
        (run.samples / "step_000000.png").write_text("mine")
        assert "--name" in performed()[0]
        assert not run.path.exists()
        aside = run.path.with_name(f"{run.path.name}.left-over-1")
        assert (aside / "samples" / "step_000000.png").read_text() == "mine"

    def test_a_damaged_record(self, study, performed, tmp_path):
        """The others are finished before it is named."""
        run = StudyFolder(tmp_path).run(study.cells[0])
        run.path.mkdir(parents=True)
        run.record_file.write_text("{")
        with pytest.raises(RunError, match=rf"1 of 4 cells failed.*{run.path.name}: .*run.json is damaged"):
            performed()


def test_a_second_study_in_the_folder_is_refused(study, tmp_path):
    """Before a cell is touched; after the first has ended it may."""
    with (
        open_study(tmp_path, study) as todo,
        pytest.raises(InUseError, match=r"is in use by process \d+ since .*\(bench concepts\); wait until"),
        open_study(tmp_path, study),
    ):
        pass
    with open_study(tmp_path, study) as again:
        assert again == todo


def test_another_plan_is_refused(study, tmp_path):
    """Cells of two plans in one folder would be compared as if they were one."""
    with open_study(tmp_path, study):
        pass
    other = open_study(tmp_path, dataclasses.replace(study, steps=3))
    with pytest.raises(ConfigError, match="steps was 2 and is now 3"), other:
        pass


def test_what_makes_no_study(study):
    """Every problem of a plan is named at once."""
    twice = dataclasses.replace(
        study, concepts=study.concepts * 2, methods=["lora", "lora"], seeds=0, lr=-1.0
    )
    with pytest.raises(ConfigError) as caught:
        twice.check()
    for part in ("two concepts are called cat", "method lora is named twice", "--seeds 0", "--lr -1.0"):
        assert part in str(caught.value)


def test_cells_differ_in_nothing_but_their_place(study, tmp_path):
    """The methods of one concept and seed get the same options, or the pairs would not be pairs."""
    lora, mixed = (
        stages(tmp_path, study, Cell(study.concepts[0], method, 0))[0] for method in ("lora", "coeff-lora")
    )
    different = [(a, b) for a, b in zip(lora, mixed, strict=True) if a != b]
    assert different == [("cat-lora-seed0", "cat-coeff-lora-seed0"), ("lora", "coeff-lora")]
    assert (
        StudyFolder(tmp_path).run(Cell(study.concepts[0], "lora", 0)).path
        == tmp_path / "runs" / "cat-lora-seed0"
    )


def test_what_the_plan_sets_reaches_the_training(study, tmp_path):
    """A study at another learning rate must not quietly be one at the base's own."""
    cell = Cell(study.concepts[0], "lora", 0)
    assert "--lr" not in stages(tmp_path, study, cell)[0]
    train = stages(tmp_path, dataclasses.replace(study, lr=0.001, steps=7), cell)[0]
    assert train[train.index("--lr") + 1] == "0.001"
    assert train[train.index("--steps") + 1] == "7"


def test_an_arm_trains_with_its_own_options(study, tmp_path):
    """Two arms of one method are two runs, which differ in what the file says and in their place."""
    arms = {"lora": {"method": "lora"}, "lora-rank-4": {"method": "lora", "rank": 4}}
    study = dataclasses.replace(study, methods=list(arms), arms=arms)
    plain, wide = (stages(tmp_path, study, cell)[0] for cell in study.cells[:2])
    assert "--rank" not in plain
    assert wide[wide.index("--rank") + 1] == "4"
    assert wide[wide.index("--name") + 1] == "cat-lora-rank-4-seed0"


def test_a_study_of_arms_from_its_file_to_its_table(in_process, few_prompts, tmp_path, monkeypatch, capsys):
    """Named by the file, trained apart, compared with what the file says, and kept with the study."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "mine.toml"
    file.write_text(
        "steps = 2\n[lora]\n[wide]\nmethod = 'lora'\nrank = 4\n[mixed]\nmethod = 'coeff-lora'\nagainst = 'wide'\n"
    )
    words = ["bench", "concepts", "cat", "--base", "toybox", "--arms", str(file), "--json"]
    words += ["--images-per-prompt", "1", "--sampling-steps", "1"]
    monkeypatch.setattr(sys, "argv", ["coeffdream", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    made = json.loads((tmp_path / "study" / "comparison.json").read_text())
    assert [row["label"] for row in made["rows"]] == ["lora", "wide", "mixed"]
    assert [(each["baseline"], each["label"]) for each in made["contrasts"]] == [
        ("lora", "wide"),
        ("wide", "mixed"),
    ]
    assert (tmp_path / "study" / "arms.toml").read_text() == file.read_text()
    ranks = [
        json.loads((tmp_path / f"study/runs/cat-{arm}-seed0/run.json").read_text())["config"]["rank"]
        for arm in ("lora", "wide")
    ]
    assert ranks == [2, 4]
    capsys.readouterr()
