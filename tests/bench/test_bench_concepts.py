"""The study: every cell once, whatever happens in between, and a table at the end."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from types import SimpleNamespace

import psutil
import pytest

from coeffdream.bench import dispatch, engine
from coeffdream.bench.concepts import open_study, run_cells, stages
from coeffdream.bench.status import study_status
from coeffdream.cli.app import main
from coeffdream.cli.terminal import last_progress
from coeffdream.data.shipped import shipped
from coeffdream.errors import ConfigError, InUseError, RunError
from coeffdream.generation import request
from coeffdream.progress import silent
from coeffdream.records.run import new_run
from coeffdream.records.scores import read_scores
from coeffdream.records.study import StudyFolder
from coeffdream.records.study_plan import Cell, Study
from coeffdream.stopping import Stopped, heard


@pytest.fixture
def study():
    """Two concepts, two methods, hardly trained: four cells."""
    folders = [str(shipped(f"concepts/{name}")) for name in ("cat", "teapot")]
    return Study(
        folders, ["lora", "coeff-lora"], base="toybox", steps=2, images_per_prompt=1, sampling_steps=1
    )


@pytest.fixture
def few_prompts(monkeypatch):
    """Of each list the first five, in what runs in this process."""
    whole = request.load_prompts

    def few(source, **of):
        found = whole(source, **of)
        return dataclasses.replace(found, templates=found.templates[:5])

    monkeypatch.setattr(request, "load_prompts", few)


class Here:
    """An engine whose workers are threads of this process, which `perform(arguments, log)`; `told`: the signals it got."""

    lost, where = (BrokenExecutor,), "here"

    def __init__(self, perform, jobs=1):
        self.jobs, self.perform, self.told = jobs, perform, []
        self._hired = []

    def hire(self):
        pool = ThreadPoolExecutor(1)
        self._hired.append(pool)
        worker = SimpleNamespace(submit=lambda arguments, log: pool.submit(self.perform, arguments, log))
        up = Future()
        up.set_result(worker)
        return up

    def dismiss(self, worker):
        pass

    def stop(self, number):
        self.told.append(number)

    def close(self):
        for pool in self._hired:
            pool.shutdown()


@pytest.fixture
def in_process(monkeypatch, few_validation_draws):
    """The stages run here instead of in processes of their own; `fail` names a cell and stage to break."""
    ran: list[tuple[str, str]] = []
    fail: set[tuple[str, str]] = set()

    def perform(arguments, log):
        named = next((option for option in ("--name", "--run") if option in arguments), "eval")
        cell = arguments[arguments.index(named) + 1]
        sort = next((flag for flag in ("--no-adapter", "--unrelated") if flag in arguments), "")
        stage = f"{arguments[0]} {sort}".strip()
        if (cell, stage) in fail:
            with log.open("a") as stream:
                stream.write("error: the disk is full\n")
            return 2
        ran.append((cell, stage))
        monkeypatch.setattr(sys, "argv", ["coeffdream", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code

    monkeypatch.setattr(engine, "LocalEngine", lambda *given: Here(perform))
    return SimpleNamespace(ran=ran, fail=fail, perform=perform)


def go_through(folder, study, in_process) -> list[str]:
    """Run what is to do of a study; the names of those cells."""
    with open_study(folder, study) as todo:
        run_cells(folder, study, todo, Here(in_process.perform), silent)
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


def test_what_each_running_cell_is_at(study, tmp_path, monkeypatch):
    """Told from its log while its command runs, and no more once the cell has ended."""
    study = dataclasses.replace(study, concepts=study.concepts[:1])
    monkeypatch.setattr(dispatch, "LOOK_EVERY", 0.01)
    told: list[tuple] = []
    seen = threading.Event()

    def perform(arguments, log):
        with log.open("a") as stream:
            stream.write("training 40/200 (2.00/s, 80 s left) loss 0.1\n")
        assert seen.wait(60)
        return 1

    statuses = []

    def progress(*words):
        told.append(words)
        if words[0].startswith("cat-") and words[1]:
            statuses.append(study_status(tmp_path, last_progress))
            seen.set()

    with open_study(tmp_path, study) as todo, pytest.raises(RunError, match="2 of 2 cells failed"):
        run_cells(tmp_path, study, todo, Here(perform), progress, told=last_progress)
    first = todo[0].name
    assert (first, 40, 200, "train (1 of 5) training") in told
    assert told.index((first, 0, 0, "")) > told.index((first, 40, 200, "train (1 of 5) training"))
    assert ("study", 2, 2) in [words[:3] for words in told]
    [running] = statuses[0].running
    assert (running.cell, running.command, running.steps, running.of) == (first, "train", 40, 200)
    assert (statuses[0].where, statuses[0].done) == ("here", 0)
    ended = study_status(tmp_path, last_progress)
    assert (ended.failed, ended.running) == ([cell.name for cell in todo], [])


def running(session: int) -> list[int]:
    """The processes of a session that have not ended."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


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
    def performed(self, study, tmp_path):
        """Go through the study with commands that only note what they were asked; the training of each cell."""

        def went():
            ran = []

            def perform(arguments, log):
                ran.append(arguments)
                return 0

            with open_study(tmp_path, study) as todo:
                run_cells(tmp_path, study, todo, Here(perform), silent)
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


def test_a_stop_is_handed_on(study, tmp_path):
    """SIGTERM reaches the study alone: the running stage is told, and no further one begins."""
    ran, running = [], threading.Event()

    def perform(arguments, log):
        ran.append(arguments)
        if len(ran) == 1:
            running.set()
            while not here.told:
                time.sleep(0.01)
        return 143

    here = Here(perform)
    threading.Thread(target=lambda: (running.wait(60), os.kill(os.getpid(), signal.SIGTERM))).start()
    with heard(), open_study(tmp_path, study) as todo, pytest.raises(Stopped):
        run_cells(tmp_path, study, todo, here, silent)
    assert here.told == [signal.SIGTERM]
    assert len(ran) == 1


def test_a_stop_while_the_first_stage_is_being_started(study, tmp_path):
    """At no moment is a signal heard without being handed on, also to a worker whose command is not known to run yet."""

    class Stopping(Here):
        def hire(self):
            def stopped(*given):
                raise Stopped(signal.SIGTERM)

            up = Future()
            up.set_result(SimpleNamespace(submit=stopped))
            return up

    here = Stopping(None)
    with open_study(tmp_path, study) as todo, pytest.raises(Stopped):
        run_cells(tmp_path, study, todo, here, silent)
    assert here.told == [signal.SIGTERM]


class TestALostWorker:
    """Its cell goes on with another worker, and gives up when it was always this cell."""

    @pytest.fixture
    def losing(self, study, tmp_path, monkeypatch):
        """Go through one cell of the study, whose drawing loses its worker so many times; the commands, and the failure."""
        monkeypatch.setattr(dispatch, "LOOK_EVERY", 0.01)

        def went(times):
            ran = []

            def perform(arguments, log):
                ran.append(arguments[0])
                if arguments[0] == "generate" and ran.count("generate") <= times:
                    raise BrokenExecutor("killed")
                return 0

            here = Here(perform)
            with open_study(tmp_path, study) as todo:
                run_cells(tmp_path, study, todo[:1], here, silent)
            return ran, len(here._hired)

        return went

    def test_its_cell_goes_on(self, losing):
        """From what the lost one left; here that is nothing, so that training begins again."""
        ran, hired = losing(2)
        assert ran == ["train", "generate"] * 2 + ["train", *["generate"] * 3, "eval"]
        assert hired == 3

    def test_a_cell_that_kills_its_workers(self, losing):
        """It is named with the others that failed."""
        with pytest.raises(RunError, match=r"cat-lora-seed0: coeffdream generate lost its worker 4 times"):
            losing(100)


@pytest.mark.parametrize(("failing", "ends"), [(2, "well"), (100, "badly")])
def test_a_worker_that_does_not_come_up(failing, ends, study, tmp_path):
    """A machine lost at a bad moment is passed over; a cluster on which none ever comes up is no reason to wait for ever."""

    class Slow(Here):
        def hire(self):
            up = super().hire()
            if len(self._hired) <= failing:
                up = Future()
                up.set_exception(BrokenExecutor("No module named 'coeffdream'"))
            return up

    here = Slow(lambda arguments, log: 0)
    with open_study(tmp_path, study) as todo:
        if ends == "well":
            run_cells(tmp_path, study, todo, here, silent)
            return
        with pytest.raises(
            RunError, match=r"4 workers in a row did not come up \(No module named 'coeffdream'\)"
        ):
            run_cells(tmp_path, study, todo, here, silent)


def test_what_the_untouched_base_draws_is_drawn_by_one_cell_at_a_time(study, tmp_path, monkeypatch):
    """Two workers, cells of one concept side by side: never its floor twice at once; of two concepts, both at once."""
    monkeypatch.setattr(dispatch, "LOOK_EVERY", 0.01)
    at_work, most, both = Counter(), Counter(), threading.Barrier(2)
    met, drawn = [], set()

    def perform(arguments, log):
        sort = next((flag for flag in ("--no-adapter", "--unrelated") if flag in arguments), None)
        if sort:
            concept = log.name.partition("-")[0]
            at_work[concept, sort] += 1
            if (concept, sort) not in drawn:
                most[concept, sort] = max(most[concept, sort], at_work[concept, sort])
            if len(met) < 2:  # the first two of the study are of two concepts
                met.append(concept)
                both.wait(60)
            time.sleep(0.02)
            drawn.add((concept, sort))
            at_work[concept, sort] -= 1
        return 0

    with open_study(tmp_path, study) as todo:
        run_cells(tmp_path, study, todo, Here(perform, 2), silent)
    assert set(met) == {"cat", "teapot"}
    assert dict(most) == {
        (name, sort): 1 for name in ("cat", "teapot") for sort in ("--no-adapter", "--unrelated")
    }


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
