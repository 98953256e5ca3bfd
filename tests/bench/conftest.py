"""A small study, an engine that runs its commands in threads of the test, and machines that share no disk."""

from __future__ import annotations

import dataclasses
import json
import sys
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from coeffdream import warm
from coeffdream.bench import engine
from coeffdream.bench.carried import carried
from coeffdream.bench.concepts import open_study, run_cells
from coeffdream.bench.store import Store
from coeffdream.cli.app import main
from coeffdream.config import TrainConfig
from coeffdream.data.shipped import shipped
from coeffdream.generation import request
from coeffdream.progress import silent
from coeffdream.records.base import BaseRecord
from coeffdream.records.run import RunFolder, RunRecord
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
def in_process(monkeypatch, few_validation_draws, loaded_once):
    """The stages run here instead of in processes of their own, with base and scorers loaded once, as there; `fail` names
    a cell and stage to break."""
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


IMAGE = json.dumps(
    {"index": 0, "prompt_index": 0, "image_index": 0, "template": "t", "prompt": "p", "text": "t", "seed": 0}
    | {"file": "0.png", "sha256": "0"}
)


SCORED = ("overall", "floor", "drift", "per_prompt", "per_image")


@pytest.fixture
def address(tmp_path) -> str:
    return f"file://{tmp_path}/bucket"


def scores(cell, folder) -> dict:
    """What a cell scored, without what differs from one run of the program to the next."""
    read = json.loads(StudyFolder(folder).run(cell).scores.read_text(encoding="utf-8"))
    return {key: read[key] for key in SCORED}


@pytest.fixture
def keeping():
    """This process keeps what it loaded, as a worker does."""
    warm.keep(None)
    yield
    warm.keep_nothing()


@pytest.fixture
def through(threads, keeping):
    """Go on with a study: the driver in `folder`, its commands in turn on the machines that make cells in `nodes`."""

    def went(study, folder, address, perform, nodes=None, most=None, told=None, ended=None):
        stores = [Store(address, node) for node in nodes or [folder]]
        turn, keeping = 0, warm._shelf

        def command(arguments, log):
            nonlocal turn
            store, turn = stores[turn % len(stores)], turn + 1
            there = [word.replace(str(folder), str(store.folder)) for word in arguments]
            own = store.folder / "logs" / log.name
            own.parent.mkdir(parents=True, exist_ok=True)
            own.touch()
            keeping.shared, keeping.fetch = store.folder / "shared", store.fetch
            return carried(store, log.stem, there, own, lambda: perform(there, own))

        store = Store(address, folder)
        with open_study(folder, study, (told if told is not None else []).append, store) as todo:
            run_cells(folder, study, todo[:most], threads(command), silent, store=store)
            return [cell.name for cell in todo]

    return went


def record(cell, status) -> RunRecord:
    base = BaseRecord("toybox", "toybox", "embedded", "a" * 64, [0.5])
    return RunRecord(cell, status, "2026-01-01", "lora", TrainConfig(steps=2), base, "cat", "sks")


@pytest.fixture
def stages(study):
    """Commands that leave what stages leave, in little; `ran`: which, `during`: is called in the middle of one."""
    ran: list[tuple[str, str]] = []
    world = SimpleNamespace(ran=ran, during=lambda cell, stage: 0)

    def perform(arguments, log):
        cell, run = log.stem, RunFolder(log.parents[1] / "runs" / log.stem)
        sort = next((flag for flag in ("--no-adapter", "--unrelated") if flag in arguments), "")
        stage = f"{arguments[0]} {sort}".strip()
        ran.append((cell, stage))
        with log.open("a") as stream:
            stream.write(f"{stage} of {cell}\n")
        if stage == "train":
            assert ("--resume" in arguments) == run.record_file.is_file()
            run.adapter.mkdir(parents=True, exist_ok=True)
            if status := world.during(cell, stage):
                run.write(record(cell, "interrupted"))
                (run.checkpoints / "000001").mkdir(parents=True)
                (run.checkpoints / "000001" / "state.json").write_text("1")
                return status
            (run.adapter / "weights.safetensors").write_text(cell)
            run.write(record(cell, "complete"))
            return 0
        assert (run.adapter / "weights.safetensors").read_text() == cell
        if status := world.during(cell, stage):
            return status
        if stage == "eval":
            assert len(list(run.images.glob("*/0.png"))) == 3
            run.scores.write_text(cell)
            return 0
        folder = run.images / {"--no-adapter": "benchmark-base", "--unrelated": "unrelated"}.get(
            sort, "benchmark"
        )
        if not (folder / "images.jsonl").exists():
            folder.mkdir(parents=True)
            (folder / "0.png").write_text(f"{cell} {stage}")
            (folder / "images.jsonl").write_text(IMAGE)
        return 0

    world.perform = perform
    return world
