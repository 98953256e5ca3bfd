"""Alpha folded into to_out: exact where one projection suffices, with its true error where not."""

from __future__ import annotations

import pytest
import torch

from coeffdream.backbones.base import find_base
from coeffdream.errors import ConfigError
from coeffdream.progress import silent
from coeffdream.sharing import approximate as module
from coeffdream.sharing import export as exporting
from coeffdream.sharing.approximate import Moments, _missing, _nearest
from coeffdream.sharing.export import ExportRequest, export


def moments(plain: torch.Tensor, added: torch.Tensor) -> Moments:
    size = plain.shape[1]
    found = Moments(*(torch.zeros(size, size, dtype=torch.float64) for _ in range(3)))
    for half in (slice(None, 100), slice(100, None)):
        found.take(plain[half], added[half])
    return found


def drawn(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_what_is_linear_in_the_plain_heads_is_found_and_its_error_is_the_true_one():
    """Mixing that adds F K is within reach of one projection; what is missing is measured from sums alone."""
    plain, mixing = drawn(300, 12, seed=0), 0.3 * drawn(12, 12, seed=1)
    weight, trained = drawn(8, 12, seed=2).double(), drawn(8, 12, seed=3).double()
    found = moments(plain, plain @ mixing)
    for rank in (1, 3, 8):
        change = _nearest(found, weight, trained, rank)
        added = change.delta().double().T - (trained - weight).T
        true = (plain @ mixing).double() @ trained.T
        missing = float((true - plain.double() @ added).norm() / true.norm())
        assert _missing(found, trained.T, added) == pytest.approx(missing, abs=1e-3)
    assert change.rank == 8
    assert missing < 0.01


def exported(run, **wanted):
    record = run.read()
    base = find_base(record.base.name)
    return export(ExportRequest(**wanted), run, record, base, progress=silent, warn=pytest.fail)


@pytest.mark.parametrize("method", ["coeff-lora", "coeff-dora", "coeff"])
def test_a_run_is_approximated_and_the_file_says_how_nearly(trained_run, read_file, monkeypatch, method):
    """Every mixed layer has its to_out in the file; less is missing than without alpha; too far is refused."""
    monkeypatch.setattr(module, "FITTED", 3)
    monkeypatch.setattr(module, "UNSEEN", 2)
    run = trained_run(method)
    made = exported(run, approximate_alpha=8, force=True)
    near = made.approximation
    assert len(near.errors) == run.read().parameters.alpha_layers
    assert all(0 <= error < 1 for error in near.errors.values())
    assert near.pictures < near.untouched
    tensors, said = read_file(made.path)
    outs = [key for key in tensors if key.endswith("to_out_0.lora_down.weight")]
    assert len(outs) == len(near.errors)
    assert said["coeffdream.alpha"] == near.told == made.lost
    monkeypatch.setattr(exporting, "FARTHEST", -1.0)
    made.path.unlink()
    with pytest.raises(ConfigError, match="--force"):
        exported(run, approximate_alpha=8)
    assert not made.path.exists()


@pytest.mark.parametrize(
    ("method", "wanted", "complaint"),
    [
        ("lora", {"approximate_alpha": 4}, "no alpha to approximate"),
        ("coeff-lora", {"approximate_alpha": 0}, "at least 1"),
        ("coeff-lora", {"approximate_alpha": 4, "form": "merged"}, "neither merged"),
    ],
)
def test_what_makes_no_sense_is_refused(trained_run, method, wanted, complaint):
    with pytest.raises(ConfigError, match=complaint):
        exported(trained_run(method), **wanted)
