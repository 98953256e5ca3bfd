"""Cells on a Ray cluster of two worker nodes, on this machine: nothing lost, doubled or half-scored, whoever is killed.

What is refused and what a connection changes run with all tests; a node takes a minute to its first command. The proof, two cells
and a killed worker, then eight cells, a killed worker and a killed driver, is: pytest -m slow tests/bench/test_ray_engine.py
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from coeffdream.bench.concepts import open_study, run_cells
from coeffdream.bench.dispatch import Dispatch
from coeffdream.bench.engine import LocalEngine
from coeffdream.bench.need import Need
from coeffdream.bench.ray_engine import RayEngine
from coeffdream.cli.workers import perform
from coeffdream.data.shipped import shipped
from coeffdream.errors import ConfigError
from coeffdream.progress import silent
from coeffdream.records.arms import options_of
from coeffdream.records.study import StudyFolder
from coeffdream.records.study_plan import Study

ray = pytest.importorskip("ray", reason="the extra coeffdream[ray] is not installed")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A head without work, and two nodes for one cell each; its token and files are its own."""
    from ray.cluster_utils import Cluster

    before = dict(os.environ)
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(tmp_path_factory.mktemp("ray") / "token")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    small = {"object_store_memory": 80 << 20, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **small})
    for _ in range(2):
        made.add_node(num_cpus=1, object_store_memory=80 << 20)
    yield made.address
    made.shutdown()
    os.environ.clear()
    os.environ.update(before)


class Driver:
    """`coeffdream bench concepts --engine ray` in a process of its own."""

    def __init__(self, study, folder, address):
        words = ["bench", "concepts", *study.concepts, "--methods", ",".join(study.methods)]
        words += ["--base", "toybox", "--seeds", study.seeds, "--steps", study.steps, "--device", "cpu"]
        words += ["--images-per-prompt", study.images_per_prompt, "--sampling-steps", study.sampling_steps]
        words += ["--study", folder, "--engine", "ray", "--address", address]
        self.log = folder.with_suffix(".printed")
        environment = {key: value for key, value in os.environ.items() if not key.startswith("COV_")}
        with self.log.open("ab") as printed:
            command = [sys.executable, "-m", "coeffdream", *map(str, words)]
            self.process = subprocess.Popen(command, stdout=printed, stderr=printed, env=environment)

    def wait_for(self, seen):
        while not seen():
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)

    def end(self):
        assert self.process.wait(1200) == 0, self.log.read_text()


def workers() -> list[psutil.Process]:
    """The processes at work in the actors of this machine's cluster."""
    found = []
    for each in psutil.process_iter():
        try:
            parent = each.parent()
            if parent and parent.name().startswith("ray::Held") and "spawn_main" in " ".join(each.cmdline()):
                found.append(each)
        except psutil.Error:
            continue
    return found


def begun(study, folder, cell: int) -> bool:
    """Whether that cell of the plan draws by now."""
    return (StudyFolder(folder).run(study.cells[cell]).images / "benchmark" / "images.jsonl").exists()


def scores(study, folder) -> dict[str, dict]:
    """What each cell scored, without what differs from one run of the program to the next."""
    found = {}
    for cell in study.cells:
        read = json.loads(StudyFolder(folder).run(cell).scores.read_text(encoding="utf-8"))
        found[cell.name] = {
            key: read[key] for key in ("overall", "floor", "drift", "per_prompt", "per_image")
        }
    return found


def floor_is_drawn_once(study, folder, name="benchmark-base") -> bool:
    """Whether the cells of a concept share the very files of its floor: one that is drawn again is a file of its own."""
    for concept in study.concepts:
        floors = [StudyFolder(folder).run(c).images / name for c in study.cells if c.concept == concept]
        files = [{path.name: path.stat().st_ino for path in floor.glob("*.png")} for floor in floors]
        if not files[0] or any(each != files[0] for each in files):
            return False
    return True


def check(study, folder, locally) -> None:
    """The study is what the local engine makes of it; every cell is there once."""
    with open_study(locally, study) as todo:
        run_cells(locally, study, todo, LocalEngine(perform, 1, "cpu", StudyFolder(locally).shared), silent)
    assert scores(study, folder) == scores(study, locally)
    runs = sorted(path.name for path in (folder / "runs").iterdir() if path.name != "latest")
    assert runs == sorted(cell.name for cell in study.cells)
    assert json.loads((folder / "comparison.json").read_text(encoding="utf-8"))["contrasts"]


@pytest.mark.slow
def test_a_killed_worker(cluster, tmp_path):
    """Two cells of one prompt on two nodes: the cell of the worker that died goes on with another, the floor is
    drawn once, and the scores are those of the same commands here."""
    study = Study([str(shipped("concepts/cat"))], ["lora", "coeff"], base="toybox", device="cpu")

    def commands(folder):
        def of(cell):
            run = ["--run", cell.name, "--runs", str(folder / "runs"), "--device", "cpu"]
            draw = [
                "generate",
                "<V> cat in snow",
                *run,
                "--steps",
                "2",
                "--images-per-prompt",
                "2",
                "--no-grid",
            ]
            train = ["train", *options_of({"method": cell.arm, "steps": 2, "sample_every": 0})]
            train += ["--concept", cell.concept, "--base", "toybox", "--name", cell.name, *run[2:]]
            if StudyFolder(folder).run(cell).record_file.is_file():
                train = ["train", "--resume", cell.name, *run[2:4]]
            floor = [*draw, "--no-adapter", "--set", "floor"]
            return [train, draw, floor, ["eval", cell.name, *run[2:]]]

        return of

    killed, ended, problems = [], [], []

    def look(running):
        for chain in running:
            if chain.commands[0][0] == "eval" and not killed:
                killed.append(workers()[0])
                killed[0].kill()

    far = StudyFolder(tmp_path / "far")
    need = {"per_card": 1, "needed": lambda device: Need(0, 1 << 20)}
    engine = RayEngine(perform, None, "cpu", far.shared, address=cluster, **need)
    Dispatch(
        far,
        study.cells,
        engine,
        commands(far.path),
        lambda chain, status: ended.append(status),
        lambda cell, problem: problems.append(problem),
        look,
    ).run()
    assert problems == [None] * 2
    assert ended.count(None) == 1
    assert floor_is_drawn_once(study, far.path, "floor")

    near = StudyFolder(tmp_path / "near")
    for cell in study.cells:
        assert [perform(words) for words in commands(near.path)(cell)] == [0] * 4
    assert scores(study, far.path) == scores(study, near.path)


@pytest.mark.slow
def test_a_killed_worker_and_a_killed_driver(cluster, tmp_path):
    """Eight cells: a worker dies in the middle, then the driver; the same command again makes the rest."""
    concepts = [str(shipped(f"concepts/{name}")) for name in ("cat", "teapot")]
    study = Study(
        concepts,
        ["lora", "coeff-lora"],
        base="toybox",
        seeds=2,
        steps=20,
        device="cpu",
        images_per_prompt=2,
        sampling_steps=4,
    )
    folder = tmp_path / "far"
    driver = Driver(study, folder, cluster)
    driver.wait_for(lambda: begun(study, folder, 0))
    workers()[0].kill()
    driver.wait_for(lambda: begun(study, folder, 3))
    driver.process.send_signal(signal.SIGKILL)
    driver.process.wait()
    done = {cell.name for cell in study.cells if StudyFolder(folder).run(cell).scores.is_file()}
    before = {name: (folder / "runs" / name / "scores.json").stat().st_mtime_ns for name in done}
    assert 0 < len(done) < 8
    Driver(study, folder, cluster).end()
    assert {name: (folder / "runs" / name / "scores.json").stat().st_mtime_ns for name in done} == before
    assert floor_is_drawn_once(study, folder)
    check(study, folder, tmp_path / "near")


class TestRefusals:
    """One clear line each."""

    def engine(self, address, tmp_path, **others):
        given = {"jobs": None, "per_card": 1, "needed": lambda device: Need(0, 1 << 20), **others}
        return RayEngine(perform, given.pop("jobs"), "cpu", tmp_path, address=address, **given)

    def test_no_cluster(self, tmp_path):
        """Told at once, where Ray would try for minutes."""
        with pytest.raises(
            ConfigError, match=r"--address 127.0.0.1:9: no Ray cluster answers there .*refused"
        ):
            self.engine("127.0.0.1:9", tmp_path)
        with pytest.raises(ConfigError, match=r"an address is HOST:PORT"):
            self.engine("cluster", tmp_path)

    def test_no_room(self, cluster, tmp_path):
        """A forecast that no cluster of this size can hold."""
        with pytest.raises(ConfigError, match=r"no room for one cell, which takes a core and 4096.0 GiB"):
            self.engine(cluster, tmp_path, needed=lambda device: Need(0, 4 << 40))
        ray.shutdown()

    def test_more_on_a_card_than_it_holds(self, cluster, tmp_path):
        engine = self.engine(cluster, tmp_path)
        engine._on_cards, engine._need, engine._per_card = True, Need(20 << 30, 1 << 30), 5
        with pytest.raises(
            ConfigError, match=r"--per-card 5: a cell takes 20.0 GiB.*80.0 GiB; give --per-card 4"
        ):
            engine._check_card(80 << 30)
        engine.close()


def test_signals_stay_ours(cluster, tmp_path):
    """Ray takes SIGTERM for itself when it connects, and would end a study with its own status."""
    before = signal.getsignal(signal.SIGTERM)
    engine = TestRefusals().engine(cluster, tmp_path)
    assert signal.getsignal(signal.SIGTERM) is before
    assert engine.jobs == 2
    engine.close()
