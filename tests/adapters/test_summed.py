"""Head mixing of several runs at once: alpha' = I + sum_k w_k (alpha'_k - I)."""

from __future__ import annotations

import copy

import pytest
import torch

from coeffdream.adapters.install import install, spec_for
from coeffdream.adapters.summed import install_sum
from coeffdream.config import TrainConfig
from coeffdream.errors import AdapterError


@pytest.fixture
def learned(unet):
    """What a freshly moved adapter mixes, alpha' - I by layer."""

    def of(seed: int, **options) -> dict[str, torch.Tensor]:
        adapter = install(copy.deepcopy(unet), spec_for(TrainConfig(method="coeff", **options), unet))
        generator = torch.Generator().manual_seed(seed)
        found = {}
        for path, processor in adapter.processors.items():
            with torch.no_grad():
                processor.coefficients.alpha += 0.3 * torch.randn(4, 4, generator=generator)
            found[path] = processor.coefficients.learned.detach()
        return found

    return of


def test_the_sum_is_mixed(unet, predict, learned):
    """As one adapter with the sum written into it by hand; a layer that one of them leaves alone has the other's."""
    one, other = learned(0), learned(1, alpha_on="cross")
    by_hand = install(copy.deepcopy(unet), spec_for(TrainConfig(method="coeff"), unet))
    for path, alpha in by_hand.alpha.items():
        rest = -0.7 * other[path] if "attn2" in path else torch.zeros(4, 4)
        alpha.data.copy_(0.5 * one[path] + rest)
    install_sum(unet, [(one, 0.5), (other, -0.7)])
    assert len(other) < len(one)
    with torch.no_grad():
        assert torch.allclose(predict(unet), predict(by_hand.unet), atol=1e-6)


def test_another_parametrisation_is_summed_by_what_it_changes(unet, learned):
    """Of alpha itself, learned from the identity, the sum takes alpha - I: else two would mix twice the identity."""
    direct = learned(2, parametrisation="direct-identity")
    residual = learned(2)
    path = next(iter(direct))
    assert torch.allclose(direct[path], residual[path], atol=1e-6)
    adapter = install_sum(unet, [(direct, 1.0), (residual, 1.0)])
    assert torch.allclose(adapter.alpha[path], 2 * residual[path], atol=1e-6)


def test_nothing_to_mix_is_the_untouched_model(unet, predict):
    """Two LoRAs have no alpha."""
    with torch.no_grad():
        base = predict(unet)
        adapter = install_sum(unet, [({}, 1.0), ({}, 1.0)])
        assert adapter.processors == {}
        assert torch.equal(predict(unet), base)


def test_a_layer_that_is_not_there_is_named(unet):
    with pytest.raises(AdapterError, match="no fitting nowhere"):
        install_sum(unet, [({"nowhere": torch.zeros(4, 4)}, 1.0)])
