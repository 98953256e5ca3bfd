"""Files on disk: whole or not at all, and damage is said, not guessed around."""

from __future__ import annotations

import errno
import hashlib
import os
import stat

import pytest

from coeffdream.errors import RunError
from coeffdream.records.files import (
    read_json,
    read_jsonl,
    replacing,
    sha256_of_file,
    sha256_of_json,
    write_json,
    write_jsonl,
    write_text,
)


class DiskFullError(Exception):
    """Stands for whatever can go wrong in the middle of writing."""


def names_in(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    """A crash in the middle must not cost the last good result, nor leave litter."""
    path = tmp_path / "scores.json"
    path.write_text("old")

    def write() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half of the n")
            raise DiskFullError

    with pytest.raises(DiskFullError):
        write()
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["scores.json"]


def test_a_writer_that_fails_makes_no_file(tmp_path):
    """A file that is there is a file that was finished."""
    with pytest.raises(DiskFullError), replacing(tmp_path / "new" / "scores.json"):
        raise DiskFullError
    assert names_in(tmp_path / "new") == []


def test_an_interrupt_is_cleaned_up_after_like_an_error(tmp_path):
    """Ctrl-C arrives as a BaseException."""
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "image.png"):
        raise KeyboardInterrupt
    assert names_in(tmp_path) == []


def test_the_old_file_is_whole_until_the_new_one_is(tmp_path):
    """Readers never see a file in the making."""
    path = tmp_path / "images.jsonl"
    path.write_text("old")
    with replacing(path) as temporary:
        assert temporary.parent == path.parent  # a rename across file systems would not be atomic
        assert temporary.suffix == path.suffix  # PIL and safetensors read the format from it
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert names_in(tmp_path) == ["images.jsonl"]


@pytest.mark.skipif(os.name != "posix", reason="folders are synced on POSIX")
def test_what_is_claimed_is_on_the_disk(tmp_path, monkeypatch):
    """A power cut after the claim must not cost it: the file before it takes its name, the name after."""
    path, synced = tmp_path / "state.json", []
    fsync = os.fsync

    def recorded(handle: int) -> None:
        fsync(handle)
        status = os.fstat(handle)
        synced.append(("folder" if stat.S_ISDIR(status.st_mode) else "file", path.exists()))

    monkeypatch.setattr(os, "fsync", recorded)
    write_text(path, "new")
    assert synced == [("file", False), ("folder", True)]


def test_a_full_disk_is_told_by_the_file_s_own_name(tmp_path, monkeypatch):
    """A failed write names no file, and the temporary name would say nothing to a person."""

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "run.json").write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_text(tmp_path / "run.json", "new")
    assert caught.value.filename == str(tmp_path / "run.json")
    assert (tmp_path / "run.json").read_text() == "old"
    assert names_in(tmp_path) == ["run.json"]


def test_a_disk_that_cannot_sync_folders_is_good_enough(tmp_path, monkeypatch):
    """Some network disks refuse to; the file is no less written."""
    fsync = os.fsync

    def files_only(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", files_only)
    write_text(tmp_path / "run.json", "new")
    assert names_in(tmp_path) == ["run.json"]


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
def test_results_are_as_readable_as_any_other_file(tmp_path):
    """A temporary file is private by habit; what people share must not be."""
    write_text(tmp_path / "a.txt", "")
    (tmp_path / "b.txt").write_text("")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a.txt", "b.txt")]
    assert modes[0] == modes[1]


def test_values_come_back_as_they_were_written(tmp_path):
    """Umlauts, a placeholder and full float precision included."""
    value = {"prompt": "ein <V> Kätzchen ☂", "loss": 0.1 + 0.2, "none": None, "list": [1, True]}
    write_json(tmp_path / "deep" / "er" / "a.json", value)
    assert read_json(tmp_path / "deep" / "er" / "a.json") == value
    write_jsonl(tmp_path / "a.jsonl", [value, {}, value])
    assert read_jsonl(tmp_path / "a.jsonl") == [value, {}, value]
    assert len((tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()) == 3


def test_a_line_ends_only_where_json_says(tmp_path):
    """Pasted prompts hold U+2028 and U+0085, which str.splitlines takes for line ends."""
    rows = ["one\u2028line", "one\u0085line", "one\nline"]
    write_jsonl(tmp_path / "a.jsonl", rows)
    assert read_jsonl(tmp_path / "a.jsonl") == rows


def test_no_nan_is_written(tmp_path):
    """JSON has no NaN: a file with one could not be read elsewhere. The old file stays."""
    write_json(tmp_path / "a.json", 1)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", float("nan"))
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_jsonl(tmp_path / "a.json", [1, float("inf")])
    assert read_json(tmp_path / "a.json") == 1
    assert names_in(tmp_path) == ["a.json"]


@pytest.mark.parametrize("read", [read_json, read_jsonl])
@pytest.mark.parametrize("content", [b'{"a": ', b"\xff\xfe{}", b"not json"], ids=["cut", "bytes", "text"])
def test_a_damaged_file_is_named_with_the_remedy(tmp_path, read, content):
    """One line, no traceback of a parser."""
    path = tmp_path / "images.jsonl"
    path.write_bytes(content)
    with pytest.raises(RunError) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert "damaged" in str(caught.value)
    assert "run that stage again" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("read", [read_json, read_jsonl])
def test_a_missing_file_is_named(tmp_path, read):
    """The stage that writes it has not finished; say so."""
    with pytest.raises(RunError, match=r"absent\.json is missing"):
        read(tmp_path / "absent.json")


def test_hashes_are_sha256(tmp_path):
    """Of the file's bytes, past one block too, so other tools can check them."""
    content = os.urandom((1 << 20) + 17)
    (tmp_path / "a").write_bytes(content)
    assert sha256_of_file(tmp_path / "a") == hashlib.sha256(content).hexdigest()


def test_the_hash_of_a_value_ignores_the_order_of_keys():
    """It compares settings; only what they say counts."""
    assert sha256_of_json({"a": 1, "b": [2, 3]}) == sha256_of_json({"b": [2, 3], "a": 1})
    assert sha256_of_json({"a": 1, "b": [2, 3]}) != sha256_of_json({"a": 1, "b": [3, 2]})
