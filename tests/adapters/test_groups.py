"""Groups of heads in a UNet: fewer coefficients, which train, are kept and come back as one matrix a layer."""

from __future__ import annotations

import copy

import pytest
import torch

from coeffdream.adapters.count import count_parameters
from coeffdream.adapters.files import load_adapter, save_adapter
from coeffdream.adapters.install import install, spec_for
from coeffdream.config import TrainConfig
from coeffdream.errors import ConfigError
from coeffdream.records.run import COEFF_FILE
from coeffdream.records.tensors import open_tensors

CONFIG = TrainConfig(method="coeff", alpha_groups=2)


@torch.no_grad()
def test_what_is_saved_comes_back_exactly(unet, predict, teach, tmp_path, architecture):
    """Half the coefficients are trained; a file has the whole matrices, zero between the groups."""
    fresh = copy.deepcopy(unet)
    adapter = teach(install(unet, spec_for(CONFIG, unet)))
    sizes = {path: tuple(alpha.shape) for path, alpha in adapter.alpha.items()}
    assert set(sizes.values()) == {(2, 2, 2)}
    counted = count_parameters(copy.deepcopy(fresh), CONFIG, "coeff").alpha
    assert counted == 8 * len(sizes) == sum(alpha.numel() for alpha in adapter.alpha.values())
    save_adapter(adapter, tmp_path, architecture)
    whole = dict(open_tensors(tmp_path / COEFF_FILE).read())
    assert {array.shape for array in whole.values()} == {(4, 4)}
    assert not any(array[:2, 2:].any() or array[2:, :2].any() for array in whole.values())
    loaded = load_adapter(fresh, tmp_path, architecture)
    assert loaded.spec == adapter.spec
    assert torch.equal(predict(fresh), predict(unet))


@torch.no_grad()
def test_groups_are_the_whole_matrix_with_zeros_between(unet, predict, teach):
    """As if all heads were mixed, and those of two groups by nothing."""
    other = copy.deepcopy(unet)
    grouped = teach(install(unet, spec_for(CONFIG, unet)))
    plain = install(other, spec_for(TrainConfig(method="coeff"), other))
    for path, alpha in plain.alpha.items():
        alpha.copy_(grouped.processors[path].coefficients.learned)
    torch.testing.assert_close(predict(unet), predict(other), rtol=0, atol=0)


def test_a_number_that_does_not_divide_the_heads_is_refused(unet):
    """The line names the layer and what would fit."""
    config = TrainConfig(method="coeff", alpha_groups=3)
    with pytest.raises(ConfigError, match=r"--alpha-groups 3 does not divide the 4 heads of .*attn1"):
        spec_for(config, unet)


@pytest.mark.parametrize("said", ["3", "0", "many"])
def test_groups_that_a_file_cannot_have_are_refused(saved, refuse, rewrite, said):
    """Its metadata is not believed."""
    folder = saved("coeff", alpha_groups=2)
    rewrite(folder / COEFF_FILE, metadata=lambda meta: meta.update({"coeffdream.groups": said}))
    refuse(folder, "the metadata of the adapter in", "is damaged")


def test_a_file_that_mixes_across_its_groups_is_refused(saved, refuse, rewrite):
    """Half of what it holds would be lost in silence."""
    folder = saved("coeff")
    rewrite(folder / COEFF_FILE, metadata=lambda meta: meta.update({"coeffdream.groups": "2"}))
    refuse(folder, "heads are mixed across its 2 groups")
