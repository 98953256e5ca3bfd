"""`runs/latest` on disks and in copies of every kind: it is found, or left alone, and never costs a run."""

from __future__ import annotations

import dataclasses
import errno
import shutil
from pathlib import Path

import pytest

from coeffdream.config import TrainConfig
from coeffdream.errors import RunError
from coeffdream.records.base import BaseRecord
from coeffdream.records.latest import in_the_way, point_latest_at
from coeffdream.records.run import RunFolder, RunRecord, find_run

BASE = BaseRecord("toybox", "toybox", "embedded", "a" * 64, [0.5])
RECORD = RunRecord("cat", "complete", "2026-01-01", "lora", TrainConfig(steps=2), BASE, "cat", "sks")


def made(runs, name: str, created: str = "2026-01-01") -> RunFolder:
    run = RunFolder(runs / name)
    run.write(dataclasses.replace(RECORD, name=name, created=created))
    return run


@pytest.fixture
def no_links(monkeypatch):
    """A disk that knows no symbolic links: some shares, sticks and Windows."""

    def refused(self, *_, **__):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(Path, "symlink_to", refused)


def test_without_symbolic_links(tmp_path, no_links):
    """A text file with the run's name stands for the link, and is followed like it by name and by path."""
    for name in ("cat", "dog", "cat"):
        run = made(tmp_path, name)
        point_latest_at(run.path)
        assert (tmp_path / "latest").read_text() == f"{name}\n"
        for given in (None, "latest", str(tmp_path / "latest")):
            assert find_run(given, tmp_path).path == run.path
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cat", "dog", "latest"]


def test_a_disk_that_learns_or_forgets_links(tmp_path, monkeypatch):
    """Either form replaces the other: a folder of runs moves between machines."""
    cat, dog = made(tmp_path, "cat"), made(tmp_path, "dog")
    (tmp_path / "latest").write_text("cat\n")
    point_latest_at(dog.path)
    assert (tmp_path / "latest").is_symlink()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "symlink_to", lambda *_, **__: (_ for _ in ()).throw(NotImplementedError()))
        point_latest_at(cat.path)
    assert (tmp_path / "latest").read_text() == "cat\n"
    assert find_run(None, tmp_path).path == cat.path


@pytest.mark.parametrize("form", ["dangling", "empty file", "empty folder", "name of a run that is gone"])
def test_what_leads_nowhere_is_replaced(tmp_path, form):
    """What a removed run or a crash leaves of `latest` is ours, and no command stumbles over it."""
    latest = tmp_path / "latest"
    if form == "dangling":
        latest.symlink_to("gone", target_is_directory=True)
    elif form == "empty folder":
        latest.mkdir()
    else:
        latest.write_text("" if form == "empty file" else "gone\n")
    with pytest.raises(RunError, match="no run in"):
        find_run(None, tmp_path)
    run = made(tmp_path, "cat")
    with pytest.raises(RunError, match=r"latest leads to no run; name one with --run \(runs there: cat\)"):
        find_run(None, tmp_path)
    assert in_the_way(tmp_path) is None
    point_latest_at(run.path)
    assert find_run(None, tmp_path).path == run.path


@pytest.mark.parametrize("content", ["two\nlines\n", "../elsewhere", "a/b", "\0", "x" * 300, "latest"])
def test_a_file_of_ones_own_is_left_alone(tmp_path, content):
    """Only a name alone can be ours; a path is never followed out of the folder."""
    (tmp_path / "latest").write_text(content)
    run = made(tmp_path, "cat")
    assert "is a file of its own" in in_the_way(tmp_path)
    point_latest_at(run.path)
    assert (tmp_path / "latest").read_text() == content
    with pytest.raises(RunError, match="leads to no run"):
        find_run(None, tmp_path)


def test_a_folder_of_ones_own_is_left_alone(tmp_path):
    """It is somebody's data; the run is made beside it."""
    (tmp_path / "latest").mkdir()
    (tmp_path / "latest" / "notes.txt").write_text("mine")
    assert "is a folder of its own" in in_the_way(tmp_path)
    point_latest_at(made(tmp_path, "cat").path)
    assert (tmp_path / "latest" / "notes.txt").read_text() == "mine"


def test_a_copy_that_followed_the_link(tmp_path):
    """`cp -rL`, zip and scp make a folder of `latest`: it stands for the run it is a copy of, until newer ones come."""
    runs = tmp_path / "runs"
    cat = made(runs, "cat")
    made(runs, "dog", "2025-12-31")
    shutil.copytree(cat.path, runs / "latest")
    for given in (None, "latest", str(runs / "latest")):
        assert find_run(given, runs).path == cat.path
    made(runs, "fox", "2026-01-02")
    with pytest.raises(RunError, match="is a folder, not the way to the newest run; name the run with --run"):
        find_run(None, runs)
    assert find_run("latest", runs).path == cat.path


@pytest.mark.parametrize("gone", ["original", "its record", "its name"])
def test_a_copy_without_its_original(tmp_path, gone):
    """Then the copy is the run itself."""
    cat = made(tmp_path, "cat")
    shutil.copytree(cat.path, tmp_path / "latest")
    if gone == "original":
        shutil.rmtree(cat.path)
    elif gone == "its record":
        cat.record_file.write_text("{")
    else:
        made(tmp_path, "cat", "2020-01-01")
    assert find_run("latest", tmp_path).path == tmp_path / "latest"
