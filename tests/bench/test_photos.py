"""A study is known by its photos, not by where they lie: it moves, and it never learns from others in silence."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from coeffdream.bench.concepts import open_study, run_cells, stages
from coeffdream.config import TrainConfig
from coeffdream.data.concept import load_concept
from coeffdream.data.record import concept_record
from coeffdream.errors import ConfigError, RunError
from coeffdream.progress import silent
from coeffdream.records.base import BaseRecord
from coeffdream.records.run import RunRecord
from coeffdream.records.study import StudyFolder


@pytest.fixture
def begun(study, in_process, few_prompts, tmp_path):
    """A study of a cat whose second cell has only its pictures; its folder, and the plan."""
    here = tmp_path / "here" / "cat"
    shutil.copytree(study.concepts[0], here)
    plan = dataclasses.replace(study, concepts=[str(here)])
    in_process.fail.add(("cat-coeff-lora-seed0", "eval"))
    with pytest.raises(RunError, match="1 of 2 cells failed"), open_study(tmp_path / "study", plan) as todo:
        run_cells(tmp_path / "study", plan, todo, in_process.engine(), silent)
    in_process.fail.clear()
    in_process.ran.clear()
    return tmp_path / "study", plan


def elsewhere(plan):
    """The plan with its photos moved."""
    (here,) = (Path(folder) for folder in plan.concepts)
    there = here.parents[1] / "there" / here.name
    there.parent.mkdir()
    here.rename(there)
    return dataclasses.replace(plan, concepts=[str(there)])


def test_a_study_that_moved_goes_on(begun, in_process):
    """It is no growth; what is left is done with the photos where they are now, and the plan says so."""
    folder, plan = begun
    moved, told = elsewhere(plan), []
    with open_study(folder, moved, told.append) as todo:
        assert [cell.name for cell in todo] == ["cat-coeff-lora-seed0"]
        run_cells(folder, moved, todo, in_process.engine(), silent)
    assert told == []
    assert StudyFolder(folder).read() == moved
    assert ("cat-coeff-lora-seed0", "eval") in in_process.ran
    with open_study(folder, dataclasses.replace(moved, seeds=2)) as todo:
        assert [cell.name for cell in todo] == ["cat-lora-seed1", "cat-coeff-lora-seed1"]


def test_a_training_that_was_cut_short_goes_on_with_them(begun):
    """Where its run no longer finds them."""
    folder, plan = begun
    moved = elsewhere(plan)
    cell = moved.cells[1]
    run = StudyFolder(folder).run(cell)
    run.write(dataclasses.replace(run.read(), status="interrupted"))
    train, *_, evaluate = stages(folder, moved, cell)
    assert train[-2:] == ["--concept", cell.concept]
    assert evaluate[-2:] == ["--references", cell.concept]
    unmoved = stages(folder, plan, plan.cells[1])
    assert {"--concept", "--references"}.isdisjoint(word for command in unmoved for word in command)


class TestOtherPhotos:
    """Are refused with their folder's name, and the study is as it was."""

    @pytest.fixture
    def begun(self, study, tmp_path):
        """A study of a cat whose first cell has begun; its folder, and the plan."""
        here, folder = tmp_path / "here" / "cat", tmp_path / "study"
        shutil.copytree(study.concepts[0], here)
        plan = dataclasses.replace(study, concepts=[str(here)])
        with open_study(folder, plan) as (cell, _):
            run = StudyFolder(folder).run(cell)
        run.path.mkdir(parents=True)
        base = BaseRecord("toybox", "toybox", "embedded", "a" * 64, [0.5])
        learned = concept_record(load_concept(here))
        began = "2026-01-01"
        run.write(
            RunRecord(
                cell.name, "training", began, "lora", TrainConfig(), base, "cat", "sks", concept=learned
            )
        )
        return folder, plan

    def refused(self, folder, plan):
        before = StudyFolder(folder).record_file.read_bytes()
        says = r"learned from other photos.*another --study\): .*cat is not what cat-lora-seed0 learned from"
        with (
            pytest.raises(ConfigError, match=says),
            open_study(folder, dataclasses.replace(plan, seeds=2)),
        ):
            pass
        assert StudyFolder(folder).record_file.read_bytes() == before

    def test_another_one(self, begun):
        folder, plan = begun
        moved = elsewhere(plan)
        there = Path(moved.concepts[0])
        shutil.copy(there / "00.png", there / "01.png")
        self.refused(folder, moved)

    def test_one_more_where_they_were(self, begun):
        folder, plan = begun
        here = Path(plan.concepts[0])
        for end in (".png", ".mask.png"):
            shutil.copy(here / f"00{end}", here / f"09{end}")
        self.refused(folder, plan)

    def test_another_caption(self, begun):
        folder, plan = begun
        (Path(plan.concepts[0]) / "00.txt").write_text("<V> asleep")
        self.refused(folder, plan)

    def test_another_mask(self, begun):
        folder, plan = begun
        here = Path(plan.concepts[0])
        shutil.copy(here / "01.mask.png", here / "00.mask.png")
        self.refused(folder, plan)
