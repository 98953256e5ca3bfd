"""Who works on what: commands in the order of the plan, workers lost and replaced, a stop handed on."""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
import time
from collections import Counter
from concurrent.futures import BrokenExecutor, Future
from types import SimpleNamespace

import pytest

from coeffdream.bench import dispatch
from coeffdream.bench.concepts import open_study, run_cells
from coeffdream.bench.status import study_status
from coeffdream.cli.terminal import last_progress
from coeffdream.errors import RunError
from coeffdream.progress import silent
from coeffdream.stopping import Stopped, heard


def test_what_each_running_cell_is_at(study, tmp_path, monkeypatch, threads):
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
        run_cells(tmp_path, study, todo, threads(perform), progress, told=last_progress)
    first = todo[0].name
    assert (first, 40, 200, "train (1 of 5) training") in told
    assert told.index((first, 0, 0, "")) > told.index((first, 40, 200, "train (1 of 5) training"))
    assert ("study", 2, 2) in [words[:3] for words in told]
    [running] = statuses[0].running
    assert (running.cell, running.command, running.steps, running.of) == (first, "train", 40, 200)
    assert (statuses[0].where, statuses[0].done) == ("here", 0)
    ended = study_status(tmp_path, last_progress)
    assert (ended.failed, ended.running) == ([cell.name for cell in todo], [])


def test_a_stop_is_handed_on(study, tmp_path, threads):
    """SIGTERM reaches the study alone: the running stage is told, and no further one begins."""
    ran, running = [], threading.Event()

    def perform(arguments, log):
        ran.append(arguments)
        if len(ran) == 1:
            running.set()
            while not here.told:
                time.sleep(0.01)
        return 143

    here = threads(perform)
    threading.Thread(target=lambda: (running.wait(60), os.kill(os.getpid(), signal.SIGTERM))).start()
    with heard(), open_study(tmp_path, study) as todo, pytest.raises(Stopped):
        run_cells(tmp_path, study, todo, here, silent)
    assert here.told == [signal.SIGTERM]
    assert len(ran) == 1


def test_a_stop_while_the_first_stage_is_being_started(study, tmp_path, threads):
    """At no moment is a signal heard without being handed on, also to a worker whose command is not known to run yet."""

    class Stopping(threads):
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
    def losing(self, study, tmp_path, monkeypatch, threads):
        """Go through one cell of the study, whose drawing loses its worker so many times; the commands, and the failure."""
        monkeypatch.setattr(dispatch, "LOOK_EVERY", 0.01)

        def went(times):
            ran = []

            def perform(arguments, log):
                ran.append(arguments[0])
                if arguments[0] == "generate" and ran.count("generate") <= times:
                    raise BrokenExecutor("killed")
                return 0

            here = threads(perform)
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
def test_a_worker_that_does_not_come_up(failing, ends, study, tmp_path, threads):
    """A machine lost at a bad moment is passed over; a cluster on which none ever comes up is no reason to wait for ever."""

    class Slow(threads):
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


def test_what_the_untouched_base_draws_is_drawn_by_one_cell_at_a_time(study, tmp_path, monkeypatch, threads):
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
        run_cells(tmp_path, study, todo, threads(perform, 2), silent)
    assert set(met) == {"cat", "teapot"}
    assert dict(most) == {
        (name, sort): 1 for name in ("cat", "teapot") for sort in ("--no-adapter", "--unrelated")
    }
