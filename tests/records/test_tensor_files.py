"""Safetensors files of our own: what they say is checked before a tensor is read, and equal content is equal bytes."""

from __future__ import annotations

import json
import os
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from coeffdream.records.tensors import DIGEST, open_tensors, write_tensors

ARRAYS = {
    "b.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a.weight": np.array([0.5, -0.0, 1e-30, 3e38], np.float32),
    "steps": np.array(7, np.float32),
}
METADATA = {f"key {number}": f"value {number}" for number in range(8)} | {"ünïcode": "☂"}


@pytest.fixture
def file(tmp_path) -> Path:
    write_tensors(tmp_path / "a.safetensors", ARRAYS, METADATA)
    return tmp_path / "a.safetensors"


def packed(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype="F32", shape=(1,), offsets=(0, 4), **more) -> dict:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **more}


def test_what_was_written_is_read_by_us_and_by_the_library(file):
    """Values to the bit, a scalar's empty shape, and the metadata."""
    opened = open_tensors(file)
    ours, theirs = dict(opened.read()), load_file(file)
    assert opened.check_digest()
    for name, array in ARRAYS.items():
        for found in (ours[name], theirs[name]):
            assert found.shape == array.shape
            assert found.tobytes() == array.tobytes()
    with safe_open(file, "np") as library:
        assert library.metadata() == opened.metadata
    assert {key: value for key, value in opened.metadata.items() if key != DIGEST} == METADATA


def test_equal_content_is_equal_bytes(file, tmp_path):
    """The library alone puts metadata in an order of chance, so that no hash of a file would mean anything."""
    for number in range(10):
        again = tmp_path / f"{number}.safetensors"
        write_tensors(again, dict(reversed(ARRAYS.items())), dict(reversed(METADATA.items())))
        assert again.read_bytes() == file.read_bytes()


def test_every_bit_counts(file):
    """A flip anywhere is refused, or the file reads exactly as before (as in the padding of the header)."""
    whole = file.read_bytes()
    refused = 0
    for position in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[position // 8] ^= 1 << position % 8
        file.write_bytes(flipped)
        try:
            opened = open_tensors(file)
            digest = opened.check_digest()
            read = {name: array.tobytes() for name, array in opened.read()}
        except ValueError:
            refused += 1
            continue
        # A flip in the very name of the digest leaves a file without one; its reader knows that it had one.
        assert not digest or opened.metadata == {**METADATA, DIGEST: opened.metadata[DIGEST]}
        assert read == {name: array.tobytes() for name, array in ARRAYS.items()}
    assert refused > 0.9 * 8 * len(whole)


def test_a_file_rewritten_by_another_program_with_the_same_content_is_the_same(file):
    """The digest is that of the content in our order, not of the order that someone else chose."""
    with safe_open(file, "np") as opened:
        metadata = opened.metadata()
    save_file(load_file(file), file, metadata)
    assert open_tensors(file).check_digest()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "cut short"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:aaaa\nsize 123\n", "cut short"),
        (struct.pack("<Q", 1 << 62), "cut short"),
        (packed(b"[" * 100_000), "nested too deeply"),
        (packed(b"[]"), "no JSON object"),
        (
            packed(b'{"a": {"dtype": "F32", "shape": [' + b"9" * 6000 + b'], "data_offsets": [0, 4]}}'),
            "limit",
        ),
        (packed(b'{"a": 1, "a": 1}'), "twice"),
        (packed(b'{"a": Infinity}'), "Infinity"),
        (packed(b"\xff\xfe{}"), "decode"),
        (packed({"__metadata__": {"a": 1}}), "not made of text"),
        (packed({"__metadata__": "a"}), "not made of text"),
        (packed({"a": entry(extra=1)}, b"1234"), "not described by"),
        (packed({"a": entry("F31")}, b"1234"), "unknown dtype"),
        (packed({"a": entry(dtype=["F32"])}, b"1234"), "unknown dtype"),
        (packed({"a": entry(shape=(-1,))}, b"1234"), "the shape"),
        (packed({"a": entry(shape=(True,))}, b"1234"), "the shape"),
        (packed({"a": entry(shape=(2,))}, b"1234"), "does not fill"),
        (packed({"a": entry(offsets=(0, 4, 8))}, b"1234"), "does not fill"),
        (packed({"a": entry(), "b": entry(offsets=(2, 6))}, b"123456"), "does not begin where"),
        (packed({"a": entry(), "b": entry(offsets=(8, 12))}, b"123456789012"), "does not begin where"),
        (packed({"a": entry()}, b"12345"), "its header says 4"),
        (packed({"a": entry()}, b"123"), "its header says 4"),
    ],
)
def test_headers_that_lie(tmp_path, content, said):
    """Each is named in words that a person can act on."""
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(ValueError, match=said):
        open_tensors(tmp_path / "a")


def test_a_long_header_is_not_read(tmp_path):
    """A file that is all header costs no memory."""
    with (tmp_path / "a").open("wb") as stream:
        stream.write(struct.pack("<Q", 3 << 30))
        stream.truncate(4 << 30)
    tracemalloc.start()
    with pytest.raises(ValueError, match="3,221,225,472 bytes long"):
        open_tensors(tmp_path / "a")
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are POSIX")
def test_a_pipe_is_not_waited_for(tmp_path):
    """Opening one would hang until somebody writes."""
    os.mkfifo(tmp_path / "a")
    with pytest.raises(ValueError, match="no regular file"):
        open_tensors(tmp_path / "a")


def test_only_float32_is_written(tmp_path):
    """Everything that is trained is float32; another dtype is a slip of ours."""
    with pytest.raises(TypeError, match="a is float64"):
        write_tensors(tmp_path / "a", {"a": np.zeros(2)})
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_loses_what_was_written(tmp_path, monkeypatch):
    """Network disks have been seen to: the file is read back before it takes its name."""
    from coeffdream.records import tensors

    def broken(path):
        path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\0")
        return open_tensors(path)

    monkeypatch.setattr(tensors, "open_tensors", broken)
    with pytest.raises(OSError, match="does not give back") as caught:
        write_tensors(tmp_path / "a", ARRAYS)
    assert caught.value.filename == str(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []
