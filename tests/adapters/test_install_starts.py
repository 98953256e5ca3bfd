"""The values that an adapter starts from: a draw of its own for every layer, from the seed alone."""

from __future__ import annotations

import copy
import itertools

import torch

from coeffdream.adapters.install import install, spec_for
from coeffdream.adapters.other import EVERYWHERE
from coeffdream.config import TrainConfig


def installed(unet, method: str, **options):
    options = {"lora_targets": EVERYWHERE, **options}
    return install(unet, spec_for(TrainConfig(method=method, **options), unet), seed=5)


def test_lora_starts_kaiming_and_zero_from_the_seed_alone(unet):
    """PEFT's own start would depend on torch's global generator, and its gaussian is 30 times larger."""
    first = {name: p.detach().clone() for name, p in installed(copy.deepcopy(unet), "lora").lora.items()}
    torch.manual_seed(99)
    second = installed(copy.deepcopy(unet), "coeff-lora").lora
    other = install(unet, spec_for(TrainConfig(method="lora", lora_targets=EVERYWHERE), unet), seed=6).lora
    most = 0.0
    for name, parameter in first.items():
        assert torch.equal(parameter, second[name])
        if "lora_B" in name:
            assert not parameter.any()
        else:
            bound = parameter.shape[1] ** -0.5  # kaiming uniform with a = sqrt(5): U(-1/sqrt(in), 1/sqrt(in))
            assert bound * 0.8 < parameter.abs().max() <= bound
            most = max(most, float(parameter.abs().max() / bound))
            assert not torch.equal(parameter, other[name])
    assert most > 0.98  # of so many draws some come near the bound


def assert_all_differ(tensors):
    """Among tensors of one shape no two are equal; there must be some to compare."""
    compared = [(a, b) for a, b in itertools.combinations(tensors, 2) if a.shape == b.shape]
    assert compared
    assert not [pair for pair in compared if torch.equal(*pair)]


def test_every_lora_a_has_a_start_of_its_own(unet):
    """One draw for all modules of a width would start every layer along the same directions."""
    adapter = installed(unet, "lora")
    assert_all_differ([p for name, p in adapter.lora.items() if "lora_A" in name])


def test_direct_random_alpha_has_a_start_of_its_own_in_every_layer(unet):
    """Table 5a: layers with equally many heads do not begin with the same mixing."""
    adapter = installed(unet, "coeff", parametrisation="direct-random")
    assert_all_differ(list(adapter.alpha.values()))


def test_every_layer_has_a_dropout_mask_of_its_own(unet):
    """Eq. 12, as a training step draws it: one mask for all would silence the same pairs of heads everywhere."""
    adapter = installed(unet, "coeff", coeff_dropout=0.5)
    masks = [processor.coefficients.keep for processor in adapter.processors.values()]
    adapter.set_masks(adapter.drawn_masks(0, 3))
    assert_all_differ(masks)
    third = [mask.clone() for mask in masks]
    adapter.set_masks(adapter.drawn_masks(0, 4))
    assert not any(torch.equal(now, before) for now, before in zip(masks, third, strict=True))
    adapter.set_masks(adapter.drawn_masks(0, 3))
    assert all(torch.equal(now, before) for now, before in zip(masks, third, strict=True))


def test_doras_magnitude_starts_at_the_norm_of_each_row(unet):
    """In float32, from the weights as they are, also where those are bfloat16."""
    unet.to(torch.bfloat16)
    adapter = installed(unet, "dora")
    for path in adapter.spec.lora:
        weight = unet.get_submodule(path).get_base_layer().weight.float()
        wanted = weight.square().sum(1).sqrt()
        torch.testing.assert_close(adapter.lora[f"{path}.lora_magnitude_vector"].detach(), wanted)
