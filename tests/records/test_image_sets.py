"""Sets of generated images: which one is meant, and the manifest as it was written."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coeffdream.errors import RunError
from coeffdream.records.base import BaseRecord
from coeffdream.records.files import write_jsonl
from coeffdream.records.images import ImageRecord, SetFolder, SetRecord, SetSettings, find_set

SETTINGS = SetSettings(
    BaseRecord("toybox", "toybox"), None, None, None, "sks", 0, 20, 3.0, "", 64, "Euler", "float32"
)


def make_set(images, name: str, *, kind: str = "benchmark", created: str = "2026-01-01") -> SetFolder:
    folder = SetFolder(images / name)
    templates = ["a <V> CLASS", "one <V> CLASS"]
    assert folder.create(SetRecord(name, kind, created, "live", templates, "cat", 4, SETTINGS))
    return folder


def test_the_set_named_is_taken(tmp_path):
    """However old it is and whatever its kind."""
    make_set(tmp_path, "live", created="2026-02-01")
    wanted = make_set(tmp_path, "snow", kind="prompts", created="2025-01-01")
    assert find_set(tmp_path, "snow") == wanted


def test_without_a_name_the_newest_benchmark_is_taken(tmp_path):
    """A quick picture drawn afterwards must not become what is scored."""
    make_set(tmp_path, "a", created="2026-01-03")
    newest = make_set(tmp_path, "b", created="2026-01-04")
    make_set(tmp_path, "c", created="2026-01-02")
    make_set(tmp_path, "snow", kind="prompts", created="2026-01-05")
    assert find_set(tmp_path, None) == newest


def test_without_a_benchmark_the_newest_set_is_taken(tmp_path):
    """Given prompts can be scored too."""
    make_set(tmp_path, "snow", kind="prompts", created="2026-01-01")
    newest = make_set(tmp_path, "rain", kind="prompts", created="2026-01-02")
    assert find_set(tmp_path, None) == newest


def test_a_set_that_is_not_there_lists_those_that_are(tmp_path):
    """And an empty run says which command makes one."""
    with pytest.raises(RunError, match="holds no generated set; make one with: coeffdream generate"):
        find_set(tmp_path, None)
    with pytest.raises(RunError, match=r"no set called 'live' in .* \(there: none\)"):
        find_set(tmp_path, "live")
    make_set(tmp_path, "snow")
    with pytest.raises(RunError, match=r"\(there: snow\)"):
        find_set(tmp_path, "live")


def test_the_manifest_comes_back_in_its_order(tmp_path):
    """Its order is the order of the pictures, not of the folder."""
    folder = make_set(tmp_path, "live")
    images = [
        ImageRecord(index, index, 0, "a <V> CLASS", "a <V> cat", "a sks cat", 2**63 - 1, f"{index}.png", "")
        for index in (2, 0, 1)
    ]
    assert folder.read_images() == []
    folder.append_images(images)
    assert folder.read_images() == images
    assert folder.read_set().expected == 8


@pytest.mark.parametrize("file", ["../../run.json", "/etc/hostname", ".", "..", "", "a\\b.png"])
def test_a_manifest_names_files_of_its_own_folder_only(tmp_path, file):
    """A record that came from elsewhere must not make any stage read other files."""
    folder = make_set(tmp_path, "live")
    row = {
        "index": 0,
        "prompt_index": 0,
        "image_index": 0,
        "template": "",
        "prompt": "",
        "text": "",
        "seed": 0,
    }
    write_jsonl(
        folder.manifest, [{**row, "file": "a.png", "sha256": ""}, {**row, "file": file, "sha256": ""}]
    )
    with pytest.raises(RunError, match=r"images\.jsonl: \[1\]: file .* is no plain file name"):
        folder.read_images()


def test_the_untouched_base_is_not_taken_for_the_run(tmp_path):
    """A floor drawn after the run's own benchmark must not be scored or shown in its place."""
    for name, created, adapter in (
        ("benchmark", "2026-01-01", {"a": "b"}),
        ("benchmark-base", "2026-01-02", None),
    ):
        record = SetRecord(
            name, "benchmark", created, "live", ["a <V> CLASS"], "cat", 4, replace(SETTINGS, adapter=adapter)
        )
        assert SetFolder(tmp_path / name).create(record)
    assert find_set(tmp_path, None).path.name == "benchmark"
