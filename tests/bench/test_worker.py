"""Workers: one process for many commands, which ends as it is asked to, and with the study."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import BrokenExecutor
from types import SimpleNamespace

import psutil
import pytest
import torch

from coeffdream.bench import engine
from coeffdream.bench.engine import LocalEngine
from coeffdream.bench.worker import Worker, _Here, _performed
from coeffdream.cli.workers import perform


def children() -> set[int]:
    """Workers of this process, without multiprocessing's own helper."""
    return {each.pid for each in psutil.Process().children() if "spawn_main" in " ".join(each.cmdline())}


def test_commands_one_after_another(tmp_path):
    """Each with its own exit status and log, in one process; stopped as by a signal, and of no use once it was killed."""
    log = tmp_path / "log.txt"
    worker = Worker(perform, tmp_path, threads=1)
    assert worker.submit(["--version"], log).result(300) == 0
    before = children()
    assert worker.submit(["train", "--steps", "0", "--concept", str(tmp_path)], log).result(300) == 2
    assert children() == before
    version, error = log.read_text(encoding="utf-8").splitlines()
    assert version.startswith("coeffdream ")
    assert error == "error: these options make no run: --steps 0 must be at least 1"
    worker.stop(signal.SIGTERM)
    assert worker.submit(["--version"], log).result(60) == 143
    worker.close()
    assert not before & children()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_running_command_is_stopped_or_lost(number, tmp_path):
    """SIGTERM ends it with its status, SIGKILL takes the worker with it."""
    worker, before, log = Worker(time.sleep, tmp_path, threads=1), children(), tmp_path / "log.txt"
    running = worker.submit(3600, log)
    while not log.exists():
        time.sleep(0.02)
    if number == signal.SIGTERM:
        worker.stop(number)
        assert running.result(300) == 143
    else:
        os.kill((children() - before).pop(), number)
        with pytest.raises(BrokenExecutor):
            running.result(300)
    worker.close()


ENDS = """
import sys, time
from pathlib import Path
from coeffdream.bench.worker import Worker
if __name__ == "__main__":
    worker = Worker(time.sleep, Path(sys.argv[1]), threads=1)
    worker.submit(3600, Path(sys.argv[1]) / "log.txt")
    while not (Path(sys.argv[1]) / "log.txt").exists():
        time.sleep(0.02)
    print("running", flush=True)
    time.sleep(3600)
"""


def test_a_worker_ends_with_its_study(tmp_path):
    """Also where that was killed and could tell it nothing."""
    (tmp_path / "study.py").write_text(ENDS, encoding="utf-8")
    study = subprocess.Popen([sys.executable, tmp_path / "study.py", tmp_path], stdout=subprocess.PIPE)
    assert study.stdout.readline() == b"running\n"
    workers = psutil.Process(study.pid).children(recursive=True)
    study.kill()
    study.communicate()
    assert psutil.wait_procs(workers, timeout=120)[1] == []


def test_a_study_that_went_while_files_were_brought(monkeypatch):
    """SIGKILL before the command: it does not begin, for nobody would hear of its end."""
    ran = []
    for name, value in {
        "asked": SimpleNamespace(value=0),
        "study_ended": True,
        "perform": ran.append,
    }.items():
        monkeypatch.setattr(_Here, name, value, raising=False)
    assert _performed(["train"]) == 130
    assert ran == []


def test_workers_spread_over_the_cards(monkeypatch, tmp_path):
    """Each sees one card; where somebody said which cards there are, one of those; a new worker takes the lost one's."""
    made = []

    class Made:
        def __init__(self, perform, shared, threads, environment, store):
            made.append(environment)

        def close(self):
            pass

    monkeypatch.setattr(engine, "Worker", Made)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    here = LocalEngine(perform, 3, "auto", tmp_path)
    workers = [here.hire().result() for _ in range(3)]
    here.dismiss(workers[1])
    here.hire()
    assert [each["CUDA_VISIBLE_DEVICES"] for each in made] == ["0", "1", "0", "1"]
    assert here.where == "3 cells at a time on this machine, over 2 cards"

    made.clear()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    for device in ("cuda", "cpu", "cuda:1"):
        other = LocalEngine(perform, 2, device, tmp_path)
        other.hire()
        other.hire()
    assert made == [{"CUDA_VISIBLE_DEVICES": "5"}, {"CUDA_VISIBLE_DEVICES": "7"}, {}, {}, {}, {}]
