"""A study encodes the photos of a concept once, whichever of its cells comes first."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace

import pytest
import torch

from coeffdream import warm
from coeffdream.backbones.base import find_base
from coeffdream.backbones.load import load_components
from coeffdream.config import TrainConfig
from coeffdream.data.concept import load_concept
from coeffdream.progress import silent
from coeffdream.training import latent_cache
from coeffdream.training.encoded import once

CONFIG = TrainConfig(resolution=32)


@pytest.fixture
def in_a_study(tmp_path):
    warm.keep(tmp_path / "shared")
    yield
    warm.keep_nothing()


@pytest.fixture
def encoded(tiny_base, cat_folder, monkeypatch):
    """Encode the concept with a config, at a precision; how many photos were encoded for it."""
    counted = []
    encode = latent_cache.encode_image
    monkeypatch.setattr(latent_cache, "encode_image", lambda *given: counted.append(1) or encode(*given))

    def samples(config=CONFIG, dtype=torch.float32):
        components = load_components(find_base(str(tiny_base)), device=torch.device("cpu"), dtype=dtype)
        before = len(counted)
        found = latent_cache.cache_concept(components, load_concept(cat_folder).images, config, silent)
        return found, len(counted) - before

    return samples


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_read_is_what_was_made(dtype, in_a_study, encoded):
    """Every bit of it, in the precision of the base."""
    made, count = encoded(dtype=dtype)
    read, again = encoded(dtype=dtype)
    assert (count, again) == (3, 0)
    for one, other in zip(made, read, strict=True):
        assert (one.name, one.time_ids, one.mask) == (other.name, other.time_ids, other.mask)
        assert torch.equal(one.posterior.mean, other.posterior.mean)
        assert torch.equal(one.posterior.std, other.posterior.std)
        for field in fields(one.conditioning):
            mine, theirs = (getattr(each.conditioning, field.name) for each in (one, other))
            assert mine.dtype == theirs.dtype == dtype
            assert torch.equal(mine, theirs)


def test_what_makes_them_others(in_a_study, encoded, cat_folder):
    """Nothing is read that another config, precision, photo or caption would not have made."""
    encoded()
    assert encoded(replace(CONFIG, token="zwx"))[1] == 3
    assert encoded(replace(CONFIG, resolution=48))[1] == 3
    assert encoded(dtype=torch.bfloat16)[1] == 3
    (cat_folder / "00.txt").write_text("<V> cat on a red sofa")
    assert encoded()[1] == 3
    (cat_folder / "01.png").write_bytes((cat_folder / "00.png").read_bytes())
    assert encoded()[1] == 3
    assert encoded()[1] == 0


def test_a_damaged_file_is_made_again(in_a_study, encoded, tmp_path):
    """Never trained on."""
    encoded()
    [file] = (tmp_path / "shared" / "encoded").iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert encoded()[1] == 3
    assert file.read_bytes() == whole


def test_a_command_of_its_own_keeps_nothing(encoded, tmp_path):
    """A training outside of a study encodes its photos itself."""
    assert [encoded()[1], encoded()[1]] == [3, 3]


def test_of_two_that_start_together_one_makes_them(in_a_study, encoded):
    """The other waits, and reads."""
    samples, _ = encoded()
    together, made = threading.Barrier(4), []

    def cell(number):
        together.wait(60)
        return once({"concept": "cat"}, lambda: made.append(number) or samples)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(cell, range(4)))
    assert len(made) == 1
    assert all(torch.equal(each[0].posterior.mean, samples[0].posterior.mean) for each in found)
