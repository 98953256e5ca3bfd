"""Features on disk: the same numbers again, or none."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from coeffdream.metrics.feature_cache import FeatureCache, encode_through

ENCODER, CONTENT = "e" * 64, "c" * 64


@pytest.fixture
def row() -> np.ndarray:
    return np.random.default_rng(0).normal(size=8).astype(np.float32)


@pytest.fixture
def stored(cache, row):
    """The cache's one file."""
    cache.write(ENCODER, CONTENT, row)
    (path,) = cache.folder.rglob("*.safetensors")
    return path


def test_what_was_written_reads_back_bit_for_bit(cache, row, stored):
    """A second eval has to give identical numbers."""
    np.testing.assert_array_equal(cache.read(ENCODER, CONTENT, 8), row)


def test_other_contents_and_encoders_are_not_there(cache, stored):
    """Features belong to one picture and one encoder."""
    assert cache.read(ENCODER, "d" * 64, 8) is None
    assert cache.read("f" * 64, CONTENT, 8) is None


def test_an_encoder_with_the_same_beginning_is_not_trusted(cache, stored):
    """The folder's name holds 16 digits of the encoder's hash; the file holds them all."""
    assert cache.read(ENCODER[:16] + "f" * 48, CONTENT, 8) is None


def rewrite(path, change) -> None:
    with safe_open(path, framework="np") as stored:
        features, metadata = stored.get_tensor("features"), stored.metadata()
    save_file({"features": change(features)}, path, metadata)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-4]),
        lambda path: path.write_text("not safetensors at all"),
        lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\x7f"),
        lambda path: rewrite(path, lambda features: features + 1),
        lambda path: rewrite(path, lambda features: features[:4]),
        lambda path: rewrite(path, lambda features: features.astype(np.float64)),
        lambda path: rewrite(path, lambda features: features.reshape(2, 4)),
        lambda path: save_file({"other": np.zeros(8, np.float32)}, path),
        lambda path: save_file({"features": np.zeros(8, np.float32)}, path),
    ],
    ids=[
        "empty",
        "cut",
        "text",
        "flipped byte",
        "other values",
        "shorter",
        "float64",
        "other shape",
        "other name",
        "no digest",
    ],
)
def test_damaged_files_are_made_again(cache, row, stored, damage):
    """A damaged file is as good as none: it is encoded again and replaced."""
    damage(stored)
    calls = []

    def encode(positions):
        calls.append(list(positions))
        return row[None]

    for _ in range(2):
        found = encode_through(cache, ENCODER, 8, [CONTENT], encode, batch_size=4)
        np.testing.assert_array_equal(found, row[None])
    assert calls == [[0]]


def test_only_what_is_missing_is_encoded_and_once(cache):
    """Positions come in batches; equal pictures share one; order is kept."""
    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    cache.write(ENCODER, "b", rows[1])
    contents, asked, done = ["a", "b", "c", "a", "d"], [], []

    def encode(positions):
        asked.append(list(positions))
        return np.stack([rows["abcd".index(contents[position])] for position in positions])

    found = encode_through(cache, ENCODER, 3, contents, encode, batch_size=2, on_done=done.append)
    np.testing.assert_array_equal(found, rows[[0, 1, 2, 0, 3]])
    assert asked == [[0, 2], [4]]
    assert done == [1, 3, 1]


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path, row):
    """No home, full disk: the scores are made all the same, and the reason is kept to be shown."""
    (tmp_path / "taken").write_text("a file where the folder should be")
    cache = FeatureCache(tmp_path / "taken")
    found = encode_through(cache, ENCODER, 8, [CONTENT], lambda positions: row[None], batch_size=1)
    np.testing.assert_array_equal(found, row[None])
    assert "set COEFFDREAM_CACHE" in cache.problem


def test_the_default_place_is_coeffdreams_cache(tmp_path):
    """COEFFDREAM_CACHE moves it, as tests/conftest.py does."""
    assert FeatureCache().folder == tmp_path / "cache" / "features"
