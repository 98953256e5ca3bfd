"""The graph of Section 4.1: what the convex hull forbids, and what the coefficients make possible."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from coeffdream.errors import ConfigError
from coeffdream.progress import silent
from coeffdream.studies.expressiveness import HULL_FLOOR, NODES, TARGETS, attend, layer, train_arm
from coeffdream.studies.expressiveness_figure import draw_expressiveness
from coeffdream.studies.options import ExpressivenessOptions

X = torch.tensor(NODES, dtype=torch.float64)
WEIGHT = some.floats(-20, 20)


def projections(data, heads: int) -> tuple[torch.Tensor, torch.Tensor]:
    width = layer(heads)[0].shape[-1]
    values = data.draw(some.lists(WEIGHT, min_size=4 * heads * width, max_size=4 * heads * width))
    query, key = torch.tensor(values, dtype=torch.float64).reshape(2, 1, heads, 2, width)
    return query, key


@given(data=some.data(), heads=some.integers(1, 5))
def test_without_alpha_nothing_leaves_the_hull(data, heads):
    """Whatever queries and keys: each output is an average of values, and the values are the square's own."""
    value, output = layer(heads)
    identity = torch.eye(heads, dtype=torch.float64)[None]
    reached = attend(X, *projections(data, heads), value[None], output, identity)
    assert reached.abs().max() <= 1 + 1e-9


@given(data=some.data())
def test_some_alpha_leaves_it(data):
    """Adding the maps of two heads doubles what both attend to: the sum of a row is not held at one."""
    query, key = (10 * torch.eye(2, dtype=torch.float64)[None, :, :, None] for _ in "qk")
    row = data.draw(some.floats(0.5, 3))
    value, output = layer(2)
    mixing = torch.eye(2, dtype=torch.float64) + row
    reached = attend(X, query, key, value[None], output, mixing[None])
    assert reached.abs().max() > 1.4


def test_the_answer_that_the_targets_hide():
    """Two sharp heads along the diagonals, their maps added: the targets to the last digit that softmax allows."""
    diagonals = torch.tensor([[[1.0], [1.0]], [[1.0], [-1.0]]], dtype=torch.float64)[None]
    value, output = layer(2)
    reached = attend(
        X, 30 * diagonals, diagonals, value[None], output, torch.tensor([[[1.0, 1], [1, -1]]]).double()
    )
    # Head 1 attends to a corner of one diagonal, head 2 to one of the other; y of the second has the other sign.
    signs = torch.sign(X @ diagonals[0, :, :, 0].T)
    expected = torch.stack([signs[:, 0] + signs[:, 1], signs[:, 0] - signs[:, 1]], 1)
    assert torch.equal(expected, torch.tensor(TARGETS).double())
    assert torch.allclose(reached[0, :, 0], expected[:, 0], atol=1e-6)


def test_one_layer_is_ordinary_attention():
    """Against torch's own multi-head attention, the frozen weights in their places."""
    generator = torch.Generator().manual_seed(0)
    query, key = torch.randn(2, 1, 2, 2, 1, generator=generator, dtype=torch.float64)
    value, output = layer(2)
    reached = attend(X, query, key, value[None], output, torch.eye(2, dtype=torch.float64)[None])[0]
    torchs = torch.nn.MultiheadAttention(2, 2, bias=False, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        torchs.in_proj_weight.copy_(torch.cat([query[0, :, :, 0], key[0, :, :, 0], value[:, :, 0]]))
        torchs.out_proj.weight.copy_(output[:, 0].T)
        assert torch.allclose(torchs(X[None], X[None], X[None])[0][0], reached)


def test_a_short_study(tmp_path):
    """The hull's floor holds and alpha passes it; equal runs are equal numbers and equal figures."""
    options = ExpressivenessOptions(seeds=3, steps=300)
    arms = [train_arm(arm, options, silent) for arm in ("query-key", "query-key-value", "query-key-alpha")]
    stuck, values, free = (arm.errors for arm in arms)
    assert stuck.min() >= HULL_FLOOR
    assert free.min() < 0.01 < values.min()
    assert np.array_equal(train_arm("query-key-alpha", options, silent).errors, free)
    assert np.allclose(arms[2].errors, ((arms[2].outputs - np.array(TARGETS)) ** 2).mean((1, 2)))
    once, again = (draw_expressiveness(arms, tmp_path / name) for name in ("once", "again"))
    assert [file.suffix for file in once] == [".png", ".svg"]
    assert [file.read_bytes() for file in once] == [file.read_bytes() for file in again]


@pytest.mark.parametrize("change", [{"seeds": 0}, {"heads": 33}, {"steps": 10**6}, {"lr": float("nan")}])
def test_what_makes_no_study(change):
    """Each by the name of its option."""
    with pytest.raises(ConfigError, match=f"--{next(iter(change))}"):
        ExpressivenessOptions(**change).check()
