"""The numbers of the published studies are those of their records, and nobody typed them."""

from __future__ import annotations

import json
import runpy
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from coeffdream.bench.concepts import open_study
from coeffdream.errors import RunError
from coeffdream.records.study import StudyFolder
from coeffdream.workshop.worth import LEVELS, worth_of

ROOT = Path(__file__).parents[2]
MADE = runpy.run_path(str(ROOT / "docs" / "study_tables.py"))
NAMES = list(dict.fromkeys(name for _, name, _ in MADE["TABLES"]))


@pytest.mark.parametrize(("page", "name", "metrics"), MADE["TABLES"])
def test_the_pages_have_the_tables(page, name, metrics):
    """`python docs/study_tables.py` prints them anew."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for table in MADE["tables"](page, MADE["published"](name), metrics):
        assert table in text


@pytest.mark.parametrize(("page", "name"), MADE["WORTH"])
def test_the_pages_have_what_each_arm_is_worth(page, name):
    """Which follows from the records, too, without a picture."""
    assert MADE["worth"](name) in (ROOT / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_the_numbers_follow_from_the_records(name):
    """Who doubts them unpacks the archive and compares for themselves."""
    assert json.loads(json.dumps(MADE["recomputed"](name))) == MADE["published"](name)


def test_the_script_says_so_too(monkeypatch, capsys):
    """--check ends with 1 where they do not."""
    monkeypatch.setattr(sys, "argv", ["study_tables.py", "--check"])
    monkeypatch.setitem(MADE["main"].__globals__, "recomputed", lambda name: {})
    monkeypatch.setitem(MADE["main"].__globals__, "worth", lambda name: "")  # another test makes it
    with pytest.raises(SystemExit) as ended:
        MADE["main"]()
    assert ended.value.code
    assert "does NOT follow" in capsys.readouterr().out


def test_what_is_unpacked_is_a_study_that_goes_on(tmp_path):
    """On any machine, with the concepts of its own checkout: nothing is made again, and more seeds can follow."""
    with tarfile.open(ROOT / "docs" / "study.tar.xz") as records:
        records.extractall(tmp_path, filter="data")
    kept = StudyFolder(tmp_path / "study")
    plan = kept.read()
    here = [str(ROOT / "concepts" / Path(each).name) for each in plan.concepts]
    more = replace(plan, concepts=here, seeds=plan.seeds + 1)
    with open_study(kept.path, more) as todo:
        assert {cell.seed for cell in todo} == {plan.seeds}
    assert len(todo) == len(here) * len(plan.methods)


def test_what_is_between_is_never_guessed(tmp_path):
    """Without pictures and without what they said there is no worth."""
    with tarfile.open(ROOT / "docs" / "screen.tar.xz") as records:
        records.extractall(tmp_path, filter="data")
    kept = tmp_path / "screen" / LEVELS
    entries = json.loads(kept.read_text())
    kept.write_text(json.dumps(entries[:-1]))
    with pytest.raises(RunError, match=r"has no pictures, and .*levels\.json says nothing of them"):
        worth_of(tmp_path / "screen")


class TestKeeping:
    """docs/study_records.py."""

    def test_no_path_of_the_machine_is_kept(self, tmp_path):
        """What it packs is what it was given, but for the places of photos and runs."""
        with tarfile.open(ROOT / "docs" / "screen.tar.xz") as records:
            records.extractall(tmp_path, filter="data")
        folder = tmp_path / "screen"
        for file in folder.rglob("*.json"):
            text = file.read_text().replace('"other/', f'"{tmp_path}/other/')
            file.write_text(text.replace('"screen/runs"', f'"{folder}/runs"'))
        (folder / "comparison.json").write_text("{}")
        before = (folder / "runs" / "other-cat-lora-seed0" / "run.json").read_text()
        assert str(tmp_path) in before
        keep = runpy.run_path(str(ROOT / "docs" / "study_records.py"))["keep"]
        (tmp_path / "kept").mkdir()
        keep(folder, tmp_path / "kept")
        assert (tmp_path / "kept" / "screen.json").read_text() == "{}"
        with tarfile.open(tmp_path / "kept" / "screen.tar.xz") as packed:
            packed.extractall(tmp_path / "again", filter="data")
        for file in (tmp_path / "again").rglob("*.json"):
            assert str(tmp_path) not in file.read_text()
        after = (tmp_path / "again" / "screen" / "runs" / "other-cat-lora-seed0" / "run.json").read_text()
        assert after == before.replace(f"{tmp_path}/", "")
