"""A study kept at an address, by processes of their own: one is killed, and another machine goes on.

It is slow: pytest -m slow tests/bench/test_store_killed.py
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time

import pytest

from coeffdream.bench.store import Store
from coeffdream.records.study_journal import Journal

from .conftest import scores


class Driver:
    """`coeffdream bench concepts --store` in a process of its own, on one concept."""

    def __init__(self, folder, *more):
        words = ["bench", "concepts", "cat", "--base", "toybox", "--device", "cpu", "--steps", "2"]
        words += ["--images-per-prompt", "1", "--sampling-steps", "2", "--study", str(folder), *more]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("COV_")}
        self.log = folder.with_suffix(".printed")
        with self.log.open("wb") as printed:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "coeffdream", *words], stdout=printed, stderr=printed, env=environment
            )

    def end(self):
        assert self.process.wait(1200) == 0, self.log.read_text()
        return self.log.read_text()


@pytest.mark.slow
def test_a_killed_study_goes_on_on_another_machine(study, address, tmp_path):
    """SIGKILL in the middle of the second cell; a fresh folder makes the rest from what lies at the store, and finds what
    one study in one folder finds."""
    study = dataclasses.replace(study, concepts=study.concepts[:1], seeds=2)
    first, second = study.cells[:2]
    bucket, more = tmp_path / "bucket", ["--seeds", "2", "--store", address]
    one = Driver(tmp_path / "one", *more)
    while not (bucket / "runs" / second.name / "images" / "benchmark" / "images.jsonl").exists():
        assert one.process.poll() is None, one.log.read_text()
        time.sleep(0.05)
    one.process.kill()
    one.process.wait()
    begun = Store(address, tmp_path / "none")
    assert "scores.json" in begun.contents(first.name)
    assert "scores.json" not in begun.contents(second.name)
    made = {path: path.stat().st_mtime_ns for path in (bucket / "runs" / first.name).rglob("*")}
    said = Driver(tmp_path / "two", *more).end()
    assert "has 1 finished cell more: bringing their records" in said
    assert "4 cells, 3 to do" in said
    assert {path: path.stat().st_mtime_ns for path in (bucket / "runs" / first.name).rglob("*")} == made
    ended = [end.command for end in Journal(tmp_path / "two").ends() if end.cell == second.name]
    assert ended == ["generate", "generate --no-adapter", "generate --unrelated", "eval"]  # it was trained
    Driver(tmp_path / "alone", "--seeds", "2").end()
    for cell in study.cells:
        assert scores(cell, tmp_path / "two") == scores(cell, tmp_path / "alone")
    assert "4 cells, 0 to do" in Driver(tmp_path / "three", "--seeds", "2", "--store", address).end()
    compared = [
        json.loads((tmp_path / name / "comparison.json").read_text()) for name in ("two", "three", "alone")
    ]
    assert compared[0] == compared[1] == compared[2]
