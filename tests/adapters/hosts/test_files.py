"""Coefficients of a transformer on disk: what is loaded is what was saved, or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from coeffdream import add_coefficients, coefficients_of, load_coefficients, save_coefficients
from coeffdream.errors import AdapterError
from coeffdream.records.tensors import open_tensors, write_tensors

from .conftest import built, called


@pytest.fixture
def kept(tmp_path: Path, shaken: Any) -> Path:
    model = built("bart", "sdpa")
    shaken(add_coefficients(model, layers="cross", dropout=0.2))
    return save_coefficients(model, tmp_path)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_loaded_is_saved(kept: Path, attention: str, shaken: Any) -> None:
    assert kept.name == "coeff_weights.safetensors"
    own = built("bart", attention)
    shaken(add_coefficients(own, layers="cross"))
    model = built("bart", attention)
    made = load_coefficients(model, kept.parent)
    assert [(each.dropout, each.parametrisation) for each in made.values()] == [(0.2, "residual")] * 2
    torch.testing.assert_close(called(model, "bart"), called(own, "bart"), rtol=1e-6, atol=1e-6)


def test_equal_coefficients_make_equal_bytes(kept: Path, tmp_path: Path) -> None:
    model = built("bart", "sdpa")
    load_coefficients(model, kept)
    assert save_coefficients(model, tmp_path / "again.safetensors").read_bytes() == kept.read_bytes()


def test_groups_are_kept(tmp_path: Path, shaken: Any) -> None:
    """The file holds the whole matrix, as without groups, and says how many there are."""
    model = built("bart", "sdpa")
    own = add_coefficients(model, groups=2)
    shaken(own)
    file = save_coefficients(model, tmp_path)
    opened = open_tensors(file)
    assert set(opened.shapes.values()) == {(4, 4)}
    again = built("bart", "sdpa")
    made = load_coefficients(again, file)
    assert [tuple(each.alpha.shape) for each in made.values()] == [(2, 2, 2)] * 6
    assert all(torch.equal(made[path].alpha, each.alpha.float().double()) for path, each in own.items())
    assert save_coefficients(again, tmp_path / "again.safetensors").read_bytes() == file.read_bytes()
    path, whole = next(iter(opened.read()))
    for metadata, arrays, message in (
        ({}, {path: whole + 1}, "heads are mixed across its 2 groups"),
        ({"coeffdream.groups": "3"}, {}, "metadata of .* is damaged"),
        ({"coeffdream.groups": "-2"}, {}, "metadata of .* is damaged"),
    ):
        _rewritten(file, metadata, **arrays)
        with pytest.raises(AdapterError, match=message):
            load_coefficients(built("bart", "sdpa"), file)


def test_inspect_reads_them(kept: Path) -> None:
    from coeffdream.report.alpha import read_mixing

    assert list(read_mixing(kept.parent)) == [f"decoder.layers.{n}.encoder_attn" for n in range(2)]


def _rewritten(kept: Path, metadata: dict[str, str] | None = None, **arrays: np.ndarray) -> None:
    opened = open_tensors(kept)
    said = {key: value for key, value in opened.metadata.items() if key != "coeffdream.digest"}
    write_tensors(kept, {**dict(opened.read()), **arrays}, {**said, **(metadata or {})})


FIRST = "decoder.layers.0.encoder_attn.alpha"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda file: file.unlink(), "does not exist; save_coefficients writes it"),
        (lambda file: file.write_bytes(b"no"), "is no readable file of coefficients"),
        (
            lambda file: file.write_bytes(file.read_bytes()[:-1] + b"\x7f"),
            "its digest is that of another content",
        ),
        (lambda file: _rewritten(file, {"coeffdream.format": "9"}), "was not written by save_coefficients"),
        (lambda file: _rewritten(file, {"coeffdream.architecture": "x"}), "belongs to another model"),
        (lambda file: _rewritten(file, {"coeffdream.dropout": "2"}), "metadata of .* is damaged"),
        (lambda file: _rewritten(file, {"coeffdream.parametrisation": "x"}), "metadata of .* is damaged"),
        (
            lambda file: _rewritten(file, **{FIRST: np.zeros((3, 3), np.float32)}),
            "has no place in this model",
        ),
        (
            lambda file: _rewritten(file, **{"encoder.alpha": np.zeros((4, 4), np.float32)}),
            "has no place in this model",
        ),
        (
            lambda file: _rewritten(file, **{FIRST: np.full((4, 4), np.nan, np.float32)}),
            f"is damaged: {FIRST} holds values that are not finite",
        ),
    ],
)
def test_what_is_not_as_it_was_saved_is_refused(kept: Path, damage: Any, message: str) -> None:
    damage(kept)
    model = built("bart", "sdpa")
    with pytest.raises(AdapterError, match=message):
        load_coefficients(model, kept)
    assert not coefficients_of(model)


def test_a_file_of_another_model_is_refused(kept: Path) -> None:
    with pytest.raises(AdapterError, match=r"belongs to another model.*this BertModel"):
        load_coefficients(built("bert", "sdpa"), kept)


def test_nothing_and_nan_are_not_saved(tmp_path: Path) -> None:
    model = built("vit", "sdpa")
    with pytest.raises(AdapterError, match=r"no coefficients to save; call add_coefficients\(model\) first"):
        save_coefficients(model, tmp_path)
    made = add_coefficients(model)
    with torch.no_grad():
        next(iter(made.values())).alpha[0, 0] = torch.nan
    with pytest.raises(AdapterError, match=r"cannot be kept: .*alpha holds values that are not finite"):
        save_coefficients(model, tmp_path)
    assert not list(tmp_path.iterdir())
