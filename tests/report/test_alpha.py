"""What `inspect` says of the learned coefficients, on matrices whose numbers are known."""

from __future__ import annotations

import numpy as np
import pytest

from coeffdream.errors import AdapterError
from coeffdream.records.run import COEFF_FILE
from coeffdream.report.alpha import describe, read_mixing

LAYER = "down_blocks.1.attentions.0.transformer_blocks.0.attn1"


@pytest.fixture
def adapter(tmp_path):
    """A folder with a coefficients file of the given matrices."""
    from safetensors.numpy import save_file

    def saved(matrices, parametrisation="residual"):
        tensors = {f"{path}.alpha": np.asarray(value, dtype=np.float32) for path, value in matrices.items()}
        save_file(tensors, tmp_path / COEFF_FILE, {"coeffdream.parametrisation": parametrisation})
        return tmp_path

    return saved


def test_numbers_of_a_known_matrix():
    """alpha' = [[1, -2, 0], [0.5, 0, 0], [0, 0, 1]], worked out by hand."""
    layer = describe(LAYER, np.array([[1, -2, 0], [0.5, 0, 0], [0, 0, 1.0]]))
    assert (layer.path, layer.heads, layer.low, layer.high) == (LAYER, 3, -2.0, 1.0)
    assert layer.norm == pytest.approx((4 + 0.25 + 1) ** 0.5)
    assert layer.negative == pytest.approx(1 / 9)
    assert layer.pairs == ((0, 1, -2.0), (1, 0, 0.5))


def test_pairs_are_off_the_diagonal_and_strongest_first():
    """A head's weight on itself is no mixing, however large it is; the sign does not matter for rank."""
    mixing = np.diag([9.0, 8.0, 7.0])
    mixing[2, 0], mixing[0, 1], mixing[1, 2] = 0.1, -0.3, 0.2
    assert describe(LAYER, mixing, top=3).pairs == ((0, 1, -0.3), (1, 2, 0.2), (2, 0, 0.1))


def test_single_head_has_no_pairs():
    """One head has nothing to mix in."""
    assert describe(LAYER, np.array([[1.5]])).pairs == ()


@pytest.mark.parametrize(("parametrisation", "identity"), [("residual", 1), ("direct-random", 0)])
def test_what_is_read_is_alpha_prime(parametrisation, identity, adapter):
    """A residual file holds alpha' - I, a direct one alpha' itself."""
    alpha = np.array([[0.25, -1], [0, 0.5]])
    [(path, mixing)] = read_mixing(adapter({LAYER: alpha}, parametrisation)).items()
    assert path == LAYER
    assert np.array_equal(mixing, alpha + identity * np.eye(2))


def test_layers_come_in_the_order_of_the_model(adapter):
    """Block 10 comes after block 9, as in SDXL's middle."""
    paths = [f"mid_block.attentions.0.transformer_blocks.{number}.attn1" for number in (0, 2, 9, 10)]
    paths = ["down_blocks.2.attentions.0.transformer_blocks.0.attn1", *paths, "up_blocks.0.attn1"]
    assert list(read_mixing(adapter({path: np.eye(2) for path in reversed(paths)}))) == paths


def test_adapter_without_alpha(tmp_path):
    """A LoRA has no coefficients; the error says so and names the file."""
    with pytest.raises(AdapterError, match=f"holds no {COEFF_FILE}: a method without coefficients"):
        read_mixing(tmp_path)


@pytest.mark.parametrize("matrix", [np.zeros((2, 3)), np.zeros(4), np.array([[np.nan, 0], [0, 0]])])
def test_matrices_that_are_none(matrix, adapter):
    """A file with something else in it is refused by name instead of ending in a traceback."""
    with pytest.raises(AdapterError, match="is no square matrix of finite numbers"):
        read_mixing(adapter({LAYER: matrix}))


def test_damaged_file(adapter):
    """So is a file cut short."""
    folder = adapter({LAYER: np.eye(2)})
    (folder / COEFF_FILE).write_bytes((folder / COEFF_FILE).read_bytes()[:-3])
    with pytest.raises(AdapterError, match="not a readable safetensors file"):
        read_mixing(folder)
