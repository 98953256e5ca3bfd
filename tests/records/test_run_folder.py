"""Run folders: nothing is overwritten, the latest is found, and a name that is not there is explained."""

from __future__ import annotations

import dataclasses

import pytest

from coeffdream.config import TrainConfig
from coeffdream.errors import RunError
from coeffdream.records import run as run_records
from coeffdream.records.base import BaseRecord
from coeffdream.records.files import read_json, write_json
from coeffdream.records.latest import point_latest_at
from coeffdream.records.run import FORMAT, RunFolder, RunRecord, find_run, held_run, new_run

BASE = BaseRecord("toybox", "toybox", "embedded", "a" * 64, [0.5])
RECORD = RunRecord("cat", "complete", "2026-01-01", "lora", TrainConfig(steps=2), BASE, "cat", "sks")


def made(runs, name: str) -> RunFolder:
    with new_run(name, runs) as run:
        assert run.create(dataclasses.replace(RECORD, name=run.path.name))
    return run


def test_a_taken_name_gets_a_number(tmp_path):
    """Training twice under one name never overwrites the first run."""
    first, second, third = (made(tmp_path / "runs", "cat") for _ in range(3))
    assert [run.path.name for run in (first, second, third)] == ["cat", "cat-2", "cat-3"]
    assert first.read().name == "cat"


def test_a_file_in_the_way_is_left_alone(tmp_path):
    """A name may be taken by something that is no run."""
    (tmp_path / "cat").write_text("mine")
    assert made(tmp_path, "cat").path.name == "cat-2"
    assert (tmp_path / "cat").read_text() == "mine"


@pytest.mark.parametrize("left", [[], [".lock", ".holder.json", ".run.0123.json"]])
def test_a_husk_is_taken_over(tmp_path, left):
    """A folder that a killed process left without run.json is no run, and its name is still free."""
    (tmp_path / "cat").mkdir()
    for name in left:
        (tmp_path / "cat" / name).write_text("{")
    run = made(tmp_path, "cat")
    assert run.path.name == "cat"
    assert find_run("cat", tmp_path).read().name == "cat"


def test_a_run_that_never_began_leaves_nothing(tmp_path):
    """What fails while the base is loading makes neither a run nor a folder for runs."""
    runs = tmp_path / "runs"
    with pytest.raises(FileNotFoundError), new_run("cat", runs) as run:
        run.record_file.read_text()
    assert not runs.exists()


def test_a_name_is_taken_from_the_first_moment(tmp_path):
    """Two that begin at once under one name get two runs, although neither has written anything yet."""
    with new_run("cat", tmp_path) as one, new_run("cat", tmp_path) as two:
        assert (one.path.name, two.path.name) == ("cat", "cat-2")
        assert one.create(RECORD)
    assert [path.name for path in tmp_path.iterdir()] == ["cat"]


def test_run_json_is_written_once(tmp_path):
    """Of two that would begin the same run, the second sees that it is there."""
    run = RunFolder(tmp_path)
    assert run.create(RECORD)
    assert not run.create(dataclasses.replace(RECORD, name="other"))
    assert run.read().name == "cat"


def test_latest_leads_to_the_run_pointed_at_last(tmp_path):
    """`generate` and `eval` without a run use it; so does a person in a shell."""
    runs = tmp_path / "runs"
    first, second = made(runs, "cat"), made(runs, "dog")
    for run in (second, first, second):
        point_latest_at(run.path)
        assert find_run(None, runs).path == run.path
        assert (runs / "latest" / "run.json").is_file()
    assert sorted(path.name for path in runs.iterdir()) == ["cat", "dog", "latest"]


def test_the_runs_folder_may_be_moved(tmp_path):
    """The link is relative, so copying runs/ to another machine keeps it."""
    runs = tmp_path / "runs"
    point_latest_at(made(runs, "cat").path)
    moved = runs.rename(tmp_path / "moved")
    assert find_run(None, moved).path == (moved / "cat").resolve()


def test_a_run_is_found_by_name_and_by_path(tmp_path):
    """--run takes either."""
    runs = tmp_path / "runs"
    run = made(runs, "cat")
    assert find_run("cat", runs).path == run.path
    assert find_run(str(run.path), tmp_path / "other").path == run.path


def test_no_run_yet_says_how_to_make_one(tmp_path):
    """The first command a newcomer mistypes."""
    with pytest.raises(RunError, match=r"no run in .* yet; start with: coeffdream train"):
        find_run(None, tmp_path / "runs")


def test_an_unknown_run_lists_those_that_are_there(tmp_path):
    """Without the link, which is no run of its own."""
    point_latest_at(made(tmp_path, "cat").path)
    with pytest.raises(RunError, match=r"no run called 'dog' \(runs there: cat\)"):
        find_run("dog", tmp_path)
    with pytest.raises(RunError, match="holds no run"):
        find_run("dog", tmp_path / "elsewhere")


def test_a_run_of_another_format_is_refused(tmp_path):
    """Reading it as if it were ours could mean anything."""
    run = made(tmp_path, "cat")
    write_json(run.record_file, read_json(run.record_file) | {"format": FORMAT + 1})
    with pytest.raises(RunError, match=f"has format {FORMAT + 1} and this coeffdream reads format {FORMAT}"):
        run.read()


def test_a_link_to_a_removed_run_is_no_run(tmp_path):
    """Deleting the latest run leaves a dangling link behind."""
    run = made(tmp_path, "cat")
    point_latest_at(run.path)
    run.record_file.unlink()
    run.path.rmdir()
    with pytest.raises(RunError, match="no run in"):
        find_run(None, tmp_path)


def test_a_training_that_nobody_is_at_was_killed(tmp_path, monkeypatch):
    """By the lock, which a dead process does not keep; and one that ends between two looks did end."""
    run = made(tmp_path / "runs", "cat")
    assert run.look() == (run.read(), "complete")
    run.write(dataclasses.replace(RECORD, status="training"))
    with held_run(run, "train --resume"):
        assert run.look()[1] == "training"
    assert run.look() == (run.read(), "killed")

    def ends_meanwhile(folder):
        run.write(dataclasses.replace(RECORD, status="interrupted", steps_done=1))
        return False

    monkeypatch.setattr(run_records, "is_held", ends_meanwhile)
    record, state = run.look()
    assert (record.steps_done, state) == (1, "interrupted")
