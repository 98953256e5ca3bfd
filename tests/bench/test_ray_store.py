"""A Ray cluster whose machines share no disk: pytest -m slow tests/bench/test_ray_store.py

Two nodes on this machine, each with a mount namespace in which the study's folder is a disk of its own. That takes
Linux, and the right to mount.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from coeffdream.bench.concepts import open_study, run_cells
from coeffdream.bench.engine import LocalEngine
from coeffdream.bench.store import Store
from coeffdream.cli.workers import perform
from coeffdream.data.shipped import shipped
from coeffdream.progress import silent
from coeffdream.records.scores import read_scores
from coeffdream.records.study import StudyFolder
from coeffdream.records.study_plan import Study

pytest.importorskip("ray", reason="the extra coeffdream[ray] is not installed")


def processes_of(namespace: str) -> list[int]:
    """Those that see the disks of a node."""
    found = []
    for each in Path("/proc").glob("[0-9]*/ns/mnt"):
        with contextlib.suppress(OSError):
            if str(each.readlink()) == namespace:
                found.append(int(each.parts[2]))
    return found


class Node:
    """`ray start` with a disk of its own over `folder`."""

    def __init__(self, address, folder, log):
        start = f"ray start --address {address} --num-cpus 1 --object-store-memory {80 << 20} --block"
        ray = Path(sys.executable).parent
        command = f"mount -t tmpfs tmpfs '{folder}' && PATH='{ray}':$PATH exec {start}"
        with log.open("wb") as printed:
            self.process = subprocess.Popen(
                ["unshare", "--mount", "sh", "-c", command], stdout=printed, stderr=printed
            )
        self.folder, mine = folder, Path("/proc/self/ns/mnt").readlink()
        while (seen := Path(f"/proc/{self.process.pid}/ns/mnt").readlink()) == mine:
            assert self.process.poll() is None, log.read_text()
            time.sleep(0.01)
        self.namespace = str(seen)
        while "will now block" not in log.read_text():
            assert self.process.poll() is None, log.read_text()
            time.sleep(0.1)

    def there(self, place: str) -> bool:
        """Whether it has a file of the study on its disk."""
        disk = Path("/proc", str(self.process.pid), "root")  # as that process sees the file system
        return (disk / str(self.folder).lstrip("/") / place).exists()

    def kill(self):
        """The whole machine at once."""
        for pid in processes_of(self.namespace):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def nodes(tmp_path):
    """A head without work, and two machines: its address, and they."""
    from ray.cluster_utils import Cluster

    if subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine gives nobody a disk of their own (unshare --mount)")
    before = dict(os.environ)
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(tmp_path / "token")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    head = {"num_cpus": 0, "object_store_memory": 80 << 20, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=head)
    (tmp_path / "study").mkdir()
    machines = [Node(made.address, tmp_path / "study", tmp_path / f"node{number}") for number in range(2)]
    yield made.address, machines
    for each in machines:
        each.kill()
    made.shutdown()
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.slow
def test_a_machine_and_its_disk_are_lost(nodes, tmp_path):
    """Its cell goes on on the other one from what it had sent; the scores are those of one folder here."""
    address, machines = nodes
    study = Study(
        [str(shipped("concepts/cat"))],
        ["lora", "coeff-lora"],
        base="toybox",
        seeds=2,
        steps=2,
        device="cpu",
        images_per_prompt=1,
        sampling_steps=2,
    )
    folder, store = tmp_path / "study", f"file://{tmp_path}/bucket"
    words = ["bench", "concepts", *study.concepts, "--base", "toybox", "--seeds", "2", "--steps", "2"]
    words += ["--device", "cpu", "--images-per-prompt", "1", "--sampling-steps", "2", "--study", str(folder)]
    words += ["--engine", "ray", "--address", address, "--jobs", "2", "--store", store]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("COV_")}
    with (tmp_path / "printed").open("wb") as printed:
        driver = subprocess.Popen(
            [sys.executable, "-m", "coeffdream", *words], stdout=printed, stderr=printed, env=environment
        )
    second = study.cells[1].name
    drawn = tmp_path / "bucket" / "runs" / second / "images" / "benchmark" / "images.jsonl"
    while not drawn.exists():
        assert driver.poll() is None, (tmp_path / "printed").read_text()
        time.sleep(0.05)
    [lost] = [each for each in machines if each.there(f"runs/{second}/run.json")]
    lost.kill()
    assert driver.wait(1200) == 0, (tmp_path / "printed").read_text()
    assert not list(folder.glob("runs/*/images/*/*.png"))  # the driver has records alone

    with open_study(tmp_path / "alone", study) as todo:
        engine = LocalEngine(perform, 1, "cpu", StudyFolder(tmp_path / "alone").shared)
        run_cells(tmp_path / "alone", study, todo, engine, silent)
    contents = Store(store, folder).all_contents()
    for cell in study.cells:
        here, alone = (read_scores(StudyFolder(at).run(cell).scores) for at in (folder, tmp_path / "alone"))
        assert here.per_image == alone.per_image
        assert (here.overall, here.floor, here.drift) == (alone.overall, alone.floor, alone.drift)
        kept = contents[cell.name]
        assert sum(name.startswith("images/benchmark/") and name.endswith(".png") for name in kept) == 25
    drawers = {
        name
        for name, kept in contents.items()
        if any(
            file.startswith("images/benchmark-base/") and file.endswith(".png") and not each.at
            for file, each in kept.items()
        )
    }
    assert len(drawers) == 1  # the floor was drawn by one cell
