"""A small study, and an engine that runs its commands in threads of the test."""

from __future__ import annotations

import dataclasses
import json
import sys
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from coeffdream.bench import engine
from coeffdream.cli.app import main
from coeffdream.data.shipped import shipped
from coeffdream.generation import request
from coeffdream.records.study import StudyFolder
from coeffdream.records.study_plan import Study


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
def threads():
    """The engine of threads: a class."""
    return Here


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
    return SimpleNamespace(ran=ran, fail=fail, engine=lambda: Here(perform))


SCORED = ("overall", "floor", "drift", "per_prompt", "per_image")


@pytest.fixture
def address(tmp_path) -> str:
    return f"file://{tmp_path}/bucket"


def scores(cell, folder) -> dict:
    """What a cell scored, without what differs from one run of the program to the next."""
    read = json.loads(StudyFolder(folder).run(cell).scores.read_text(encoding="utf-8"))
    return {key: read[key] for key in SCORED}
