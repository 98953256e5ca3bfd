"""docs/scale.md: its recipe for Slurm, its arithmetic, and the simulation behind what it says of 10,000 cells."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def scale():
    spec = importlib.util.spec_from_file_location("docs_scale", ROOT / "docs" / "scale.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["docs_scale"] = module  # dataclasses look their annotations up there
    spec.loader.exec_module(module)
    yield module
    del sys.modules["docs_scale"]


class TestSlurm:
    """The script as text: nobody here has Slurm."""

    [script] = re.findall(r"```sh\n(#!/bin/bash\n.*?)```", PAGE, re.S)

    @pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
    def test_the_shell_reads_it(self):
        """Quotes and continuations are as they should be."""
        subprocess.run(["bash", "-n"], input=self.script, text=True, check=True)

    def test_what_it_asks_for(self):
        """One task a node, which starts Ray there; the study hears of the end in time to save its state."""
        asked = dict(re.findall(r"^#SBATCH --([\w-]+)=(\S+)$", self.script, re.M))
        assert (asked["ntasks-per-node"], asked["gpus-per-node"]) == ("1", "8")
        assert re.fullmatch(r"TERM@\d+", asked["signal"])

    def test_what_it_runs(self):
        """Ray's options, then coeffdream's, at one address; on the storage that all nodes see."""
        line = next(line for line in self.script.replace("\\\n", " ").splitlines() if line.startswith("srun"))
        ray, ours = line.split(" -- ")
        words, asked = shlex.split(ours), shlex.split(ray)
        assert words[:3] == ["coeffdream", "bench", "concepts"]
        assert words[words.index("--engine") + 1] == "ray"
        assert words[words.index("--address") + 1] == asked[asked.index("--address") + 1] == "$head:6379"
        assert words[words.index("--study") + 1].startswith("/shared/")
        assert asked[:3] == ["srun", "ray", "symmetric-run"]

    def test_ray_has_these_options(self):
        """Also the version that is installed."""
        pytest.importorskip("ray")
        from ray.scripts.scripts import start
        from ray.scripts.symmetric_run import symmetric_run

        known = {name for command in (start, symmetric_run) for each in command.params for name in each.opts}
        line = next(line for line in self.script.splitlines() if line.startswith("srun"))
        assert {word for word in shlex.split(line.partition(" -- ")[0]) if word.startswith("--")} <= known


class TestTheFigures:
    def test_the_page_has_them(self, scale):
        """`python docs/scale.py` makes them."""
        assert scale.tables() in PAGE

    def test_measured_figures_are_those_of_the_page_on_performance(self, scale):
        """A step and a picture of the H100 stand in one place."""
        measured = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
        for method in ("lora", "coeff-lora"):
            [row] = re.findall(rf"^\| coeffdream, {method} \|.*$", measured, re.M)
            assert f"**{1000 * scale.MEASURED.step[method]:.0f}**" in row
            assert f"{scale.MEASURED.picture[method]:.2f} s" in measured

    def test_cards_shorten_it_and_work_stays(self, scale):
        """Eight cards do what one does, in an eighth of the time but for what each loads."""
        one, eight = (scale.arithmetic(scale.SUBJECTS, scale.MEASURED, cards) for cards in (1, 8))
        assert eight["card hours"] - one["card hours"] == pytest.approx(7 * scale.MEASURED.load / 3600)
        assert eight["hours on the clock"] == pytest.approx(eight["card hours"] / 8)
        assert one["pictures"] == 390 * 125


class TestTheSimulation:
    def test_one_worker_takes_what_the_arithmetic_says(self, scale):
        """Both count the same commands."""
        free = dataclasses.replace(scale.MEASURED, driver=0, read=0, name=0)
        plan = scale.Plan(3, scale.SUBJECTS.methods, 2)
        found = scale.Simulation(plan, 1, free).run()
        told = scale.arithmetic(plan, free, 1)
        assert found.hours == pytest.approx(told["hours on the clock"], rel=0.01)
        assert found.floors == 3
        assert found.workers == pytest.approx(1)

    def test_a_floor_is_drawn_once_whoever_asks(self, scale):
        """More workers than cells of a concept: they wait for the one that draws it, and lose time by it."""
        plan = scale.Plan(1, ("lora",), 16)
        found = scale.Simulation(plan, 16, scale.MEASURED).run()
        assert found.floors == 1
        assert found.workers < 0.9

    def test_where_it_chokes(self, scale):
        """Reading every set for a floor grows with the square of the cells; notes do not."""
        plan = scale.Plan(60, scale.SUBJECTS.methods, 4)
        noted, read = (
            scale.Simulation(plan, 64, scale.MEASURED, noted=noted).run() for noted in (True, False)
        )
        assert read.storage > 2 * noted.storage
        assert read.hours > noted.hours
        twice = dataclasses.replace(plan, seeds=8)
        more = scale.Simulation(twice, 64, scale.MEASURED, noted=False).run()
        assert more.storage * more.hours > 3 * read.storage * read.hours

    def test_a_slow_driver_would_be_seen(self, scale):
        """Three seconds for every command would be most of its time at this size."""
        slow = dataclasses.replace(scale.MEASURED, driver=3.0)
        plan = scale.Plan(60, scale.SUBJECTS.methods, 1)
        assert scale.Simulation(plan, 64, slow).run().driver > 0.8
