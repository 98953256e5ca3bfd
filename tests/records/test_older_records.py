"""Records of version 0.1.0 (toybox, three steps, two prompts; rows and photos cut to the first) still load.

Whoever adds a key to a record gives it a default that says what was so before; else these fail.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from coeffdream.errors import RunError
from coeffdream.records.fields import record_to_json
from coeffdream.records.files import read_json, read_jsonl, write_json
from coeffdream.records.images import SetFolder
from coeffdream.records.run import RunFolder
from coeffdream.records.scores import read_scores
from coeffdream.records.study import StudyFolder

OLD = Path(__file__).parent / "written_by_0.1.0"


def put(source: str, target: Path) -> Path:
    target.parent.mkdir(parents=True)
    shutil.copy(OLD / source, target)
    return target.parent


def kept(record: object, before: object) -> bool:
    """Whether a record holds every value of a file; it may hold more."""
    if isinstance(before, dict):
        return isinstance(record, dict) and all(
            key in record and kept(record[key], value) for key, value in before.items()
        )
    if isinstance(before, list):
        return isinstance(record, list) and len(record) == len(before) and all(map(kept, record, before))
    return record == before


@pytest.mark.parametrize("file", ["run.json", "base_run.json"])
def test_runs(file, tmp_path):
    """One that trained, and one that only holds pictures of the untouched base."""
    record = RunFolder(put(file, tmp_path / "run" / "run.json")).read()
    assert kept(record_to_json(record), read_json(OLD / file))


@pytest.mark.parametrize(("was", "now"), [(True, "model"), (False, "none"), (None, "auto")])
def test_what_was_called_otherwise(was, now, tmp_path):
    """Off-loading was a yes or no between 0.1.0 and the next version."""
    file = put("run.json", tmp_path / "run" / "run.json") / "run.json"
    written = read_json(file)
    write_json(file, {**written, "config": {**written["config"], "model_offload": was}})
    assert RunFolder(file.parent).read().config.offload == now
    write_json(file, {**written, "config": {**written["config"], "model_offload": "yes"}})
    with pytest.raises(RunError, match=r"unknown config\.model_offload"):
        RunFolder(file.parent).read()


@pytest.mark.parametrize("file", ["set.json", "base_set.json"])
def test_sets(file, tmp_path):
    """With the adapter and without."""
    record = SetFolder(put(file, tmp_path / "set" / "set.json")).read_set()
    assert kept(record_to_json(record), read_json(OLD / file))


def test_manifests(tmp_path):
    """Line by line."""
    images = SetFolder(put("images.jsonl", tmp_path / "set" / "images.jsonl")).read_images()
    assert [record_to_json(image) for image in images] == read_jsonl(OLD / "images.jsonl")


@pytest.mark.parametrize("file", ["scores.json", "folder_scores.json"])
def test_scores(file):
    """Of a run, with floor, ceiling and drift, and of another tool's folder, of which less is known."""
    assert kept(record_to_json(read_scores(OLD / file)), read_json(OLD / file))


def test_plans_of_studies(tmp_path):
    """A study of those days goes on."""
    study = StudyFolder(put("study.json", tmp_path / "study" / "study.json")).read()
    assert kept(record_to_json(study), read_json(OLD / "study.json"))
