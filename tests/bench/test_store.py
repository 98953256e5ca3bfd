"""Studies kept at an address: machines that share no disk make one study, and nothing half sent is ever counted on."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from coeffdream.bench.concepts import open_study, run_cells
from coeffdream.bench.status import study_status
from coeffdream.bench.store import Store
from coeffdream.cli.terminal import last_progress
from coeffdream.errors import ConfigError, RunError
from coeffdream.progress import silent
from coeffdream.records.run import RunFolder
from coeffdream.records.study import StudyFolder
from coeffdream.training import encoded as encoding

from .conftest import IMAGE, record, scores


def test_machines_that_share_no_disk(study, in_process, few_prompts, through, address, tmp_path, monkeypatch):
    """Every command on another machine than the one before, the second cell driven from another one: the scores are
    those of one folder, nothing is made twice, and the second cell takes over what the untouched base drew for the first."""
    study = dataclasses.replace(study, concepts=study.concepts[:1])
    first, second = study.cells
    with open_study(tmp_path / "alone", study):
        run_cells(tmp_path / "alone", study, [second], in_process.engine(), silent)
    of_a_cell = [stage for _, stage in in_process.ran]
    in_process.ran.clear()
    encoded, write = [], encoding._write
    monkeypatch.setattr(encoding, "_write", lambda file, made: (encoded.append(file.name), write(file, made)))

    def perform(arguments, log):
        return in_process.engine().perform(arguments, log)

    nodes = [tmp_path / name for name in ("a", "b", "c", "d")]
    assert through(study, tmp_path / "one", address, perform, nodes[:2], most=1) == [first.name, second.name]
    assert through(study, tmp_path / "two", address, perform, nodes[2:]) == [second.name]
    assert in_process.ran == [(cell.name, stage) for cell in (first, second) for stage in of_a_cell]
    assert scores(second, tmp_path / "two") == scores(second, tmp_path / "alone")
    assert study_status(tmp_path / "two", last_progress).done == 2

    taken = Store(address, tmp_path / "two").contents(second.name)
    for kind, drawn in (("benchmark-base", 5), ("unrelated-base", 3)):
        pictures = {
            name: kept.at for name, kept in taken.items() if name.startswith(f"images/{kind}/") and kept.at
        }
        assert len(pictures) == drawn
        assert all(at == f"runs/{first.name}/{name}" for name, at in pictures.items())
    assert not list((tmp_path / "bucket").glob(f"runs/{second.name}/images/*-base/*.png"))
    assert not [each for node in (*nodes, tmp_path / "two") for each in (node / "left-over").glob("*")]
    assert len(set(encoded)) == len(encoded) > 0  # of the photos nothing by two machines


class TestWhatIsCut:
    """Whatever is cut, a cell that looks complete is complete, and the study goes on."""

    @pytest.mark.parametrize("after", [0, 1, 3, 5, 8, 13])
    def test_an_upload(self, after, study, stages, through, address, tmp_path, monkeypatch):
        """After so many files, the one then half there, the machine is gone; another goes on from the stage before."""
        from fsspec.implementations.local import LocalFileSystem

        study = dataclasses.replace(study, concepts=study.concepts[:1])
        whole, sent = LocalFileSystem.put_file, []

        def cut(self, path, target, **more):
            sent.append(target)
            if len(sent) > after:
                whole(self, path, target, **more)
                os.truncate(target, Path(target).stat().st_size // 2)
                raise KeyboardInterrupt
            return whole(self, path, target, **more)

        with monkeypatch.context() as patched:
            patched.setattr(LocalFileSystem, "put_file", cut)
            with pytest.raises(KeyboardInterrupt):
                through(study, tmp_path / "one", address, stages.perform)
        ran, stages.ran[:] = list(stages.ran), []
        again = Store(address, tmp_path / "two")
        for cell in study.cells:
            there = again.contents(cell.name)
            assert "scores.json" not in there or cell.name != ran[-1][0]
            again.bring(cell.name)
        through(study, tmp_path / "three", address, stages.perform)
        # What was whole at the store is not made again but for a look; the rest is.
        assert ("train" in [stage for cell, stage in stages.ran if cell == ran[0][0]]) == (
            ran[-1][1] == "train"
        )
        assert {(tmp_path / f"three/runs/{cell.name}/scores.json").read_text() for cell in study.cells} == {
            cell.name for cell in study.cells
        }
        assert through(study, tmp_path / "one", address, stages.perform) == []

    def test_a_training(self, study, stages, through, address, tmp_path):
        """One that was asked to stop goes on from its checkpoint on another machine."""
        stages.during = lambda cell, stage: 143 if stage == "train" else 0
        with pytest.raises(RunError, match=r"(?s)4 of 4 cells failed.*train ended with 143"):
            through(study, tmp_path / "one", address, stages.perform)
        stages.during = lambda cell, stage: 0
        through(study, tmp_path / "two", address, stages.perform, [tmp_path / "node"])
        state = tmp_path / "node" / "runs" / "cat-lora-seed0" / "checkpoints" / "000001" / "state.json"
        assert state.read_text() == "1"

    def test_a_machine(self, study, stages, through, address, tmp_path):
        """What a machine had begun when it was lost is not mixed with what others made of the cell since."""
        study = dataclasses.replace(study, concepts=study.concepts[:1])
        stale = RunFolder(tmp_path / "node" / "runs" / "cat-lora-seed0")
        stale.path.mkdir(parents=True)
        stale.write(record("cat-lora-seed0", "training"))
        (stale.path / "mine").write_text("half")
        through(study, tmp_path / "one", address, stages.perform, [tmp_path / "node"])
        assert not (stale.path / "mine").exists()
        [aside] = (tmp_path / "node" / "left-over").iterdir()
        assert (aside / "mine").read_text() == "half"

    def test_what_a_killed_study_left_here(self, study, stages, through, address, tmp_path):
        """Nothing of it was sent; it is, before another machine goes on with the cell."""
        run = StudyFolder(tmp_path / "one").run(study.cells[0])
        run.path.mkdir(parents=True)
        run.write(record(run.path.name, "training"))
        (run.path / "mine").write_text("kept")
        through(study, tmp_path / "one", address, stages.perform, [tmp_path / "node"])
        assert (tmp_path / "node" / "runs" / run.path.name / "mine").read_text() == "kept"


def test_a_folder_that_had_no_store(study, stages, through, address, tmp_path, threads):
    """Its finished cells are sent, and not made again."""
    with open_study(tmp_path / "one", study) as todo:
        folder = StudyFolder(tmp_path / "one")
        for cell in todo[:2]:
            folder.run(cell).path.mkdir(parents=True)
            folder.run(cell).scores.write_text(cell.name)
    told: list[str] = []
    through(study, tmp_path / "one", address, stages.perform, told=told)
    assert told == [f"{address} lacks 2 finished cells of this folder: sending them"]
    assert {cell for cell, _ in stages.ran} == {cell.name for cell in study.cells[2:]}
    told.clear()
    assert through(study, tmp_path / "two", address, stages.perform, told=told) == []
    assert told == [f"{address} has 4 finished cells more: bringing their records"]


def test_records_alone_are_no_cell(study, stages, through, address, tmp_path):
    """A driver has scores of cells whose pictures are elsewhere: were they lost there, it may not fill in for them."""
    cell = study.cells[0]
    folder = StudyFolder(tmp_path / "one").run(cell)
    for name, text in {"scores.json": "{}", "images/benchmark/images.jsonl": IMAGE}.items():
        (folder.path / name).parent.mkdir(parents=True, exist_ok=True)
        (folder.path / name).write_text(text)
    told: list[str] = []
    through(study, tmp_path / "one", address, stages.perform, most=0, told=told)
    assert told == [
        f"{address} lacks {cell.name}, of which there are scores here and no pictures; to have them there, remove those "
        "runs, and they are made anew"
    ]
    assert Store(address, tmp_path).contents(cell.name) == {}


def test_the_plan_is_kept_there(study, stages, through, address, tmp_path):
    """Another machine may not run another study into it, and lets it grow like any other."""
    through(study, tmp_path / "one", address, stages.perform, most=0)
    with pytest.raises(ConfigError, match=rf"{address} holds another study .*steps was 2 and is now 3"):
        through(dataclasses.replace(study, steps=3), tmp_path / "two", address, stages.perform)
    told: list[str] = []
    more = dataclasses.replace(study, seeds=2)
    through(more, tmp_path / "three", address, stages.perform, most=0, told=told)
    assert told == ["study grows from 4 to 8 cells: seeds 1 to 2"]
    with pytest.raises(ConfigError, match="holds a larger study"):
        through(study, tmp_path / "one", address, stages.perform)


def test_a_failure_elsewhere_is_told_here(study, stages, through, address, tmp_path):
    """The last line of a log that another machine wrote; the whole of it lies at the store, and here."""

    def perform(arguments, log):
        with log.open("a") as stream:
            stream.write("error: the disk is full\n")
        return 1

    with pytest.raises(
        RunError, match="cat-lora-seed0: coeffdream train ended with 1: error: the disk is full"
    ):
        through(study, tmp_path / "one", address, perform, [tmp_path / "node"])
    log = (tmp_path / "one" / "logs" / "cat-lora-seed0.log").read_text()
    assert log.startswith("$ coeffdream train --runs")
    assert (tmp_path / "bucket" / "logs" / "cat-lora-seed0.log").read_text() == log


def test_memory_is_an_address_like_any_other(study, stages, tmp_path):
    """Another of fsspec's file systems, which has none of a disk's calls."""
    there, cell = f"memory://{tmp_path.name}", study.cells[0].name
    one, two = Store(there, tmp_path / "one"), Store(there, tmp_path / "two")
    run = RunFolder(one.folder / "runs" / cell)
    run.path.mkdir(parents=True)
    run.write(record(cell, "complete"))
    one.send(cell)
    assert set(two.bring(cell)) == {"run.json"}
    assert RunFolder(two.folder / "runs" / cell).read() == run.read()
    assert set(two.all_contents()) == {cell}
    assert two.read("study.json") is None
    note = one.folder / "shared" / "floors" / "n.json"
    note.parent.mkdir(parents=True)
    note.write_text("[]")
    one.share(0)
    two.fetch(two.folder / "shared" / "floors" / "n.json")
    assert (two.folder / "shared" / "floors" / "n.json").read_text() == "[]"


def test_a_store_out_of_reach(study, stages, through, tmp_path):
    """Nothing is begun."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(
        RunError, match=r"file://.*/file/study cannot be .*\(\w+Error.*\); see that it is there"
    ):
        through(study, tmp_path / "one", f"file://{tmp_path}/file/study", stages.perform)
    assert stages.ran == []
    assert not (tmp_path / "one").exists()
