"""How many parameters a method trains, in all and by part of the UNet."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from coeffdream.adapters.count import count_parameters, parameter_summary
from coeffdream.adapters.install import install, spec_for
from coeffdream.config import Method, TrainConfig
from coeffdream.records.run import Parameters

# The miniature: in each of three parts one self- and one cross-attention layer, in up_blocks.0 two of each.
LAYERS = {"down_blocks.1": 1, "mid_block": 1, "up_blocks.0": 2}


@pytest.mark.parametrize(
    ("method", "lora", "alpha"),
    [
        ("lora", 2 * 32 * 2 * 2, 0),
        ("dora", 2 * 32 * 2 * 2 + 2 * 32, 0),
        ("coeff", 0, 16),
        ("coeff-lora", 256, 16),
    ],
)
def test_counts_by_hand(unet, method, lora, alpha):
    """Rank 2 on q and v of a width of 32, 4 x 4 coefficients a layer, each in its part of the UNet."""
    state = list(unet.state_dict())
    counts = count_parameters(unet, TrainConfig(), method)
    expected = {}
    for part, layers in LAYERS.items():
        expected[f"{part} self"] = {"layers": layers, "low_rank": 0, "alpha": layers * alpha}
        expected[f"{part} cross"] = {"layers": layers, "low_rank": layers * lora, "alpha": layers * alpha}
    assert counts.groups == expected
    assert (counts.method, counts.low_rank, counts.alpha) == (method, 4 * lora, 8 * alpha)
    assert counts.trained == 4 * lora + 8 * alpha
    assert counts.unet == sum(parameter.numel() for parameter in unet.parameters())
    assert counts.percent == pytest.approx(100 * counts.trained / counts.unet)
    assert list(unet.state_dict()) == state


@pytest.mark.parametrize("method", get_args(Method))
@pytest.mark.parametrize("preset", [{}, {"lora_targets": "all.q,all.k,all.v,all.out", "alpha_on": "self"}])
def test_what_is_counted_is_what_is_installed(unet, method, preset):
    """The count is worked out from shapes; PEFT and the processors make what a run really trains."""
    config = TrainConfig(method=method, rank=3, **preset)
    counts = count_parameters(unet, config, method)
    adapter = install(unet, spec_for(config, unet))
    installed = [sum(each.numel() for each in part.values()) for part in (adapter.lora, adapter.alpha)]
    adapter.uninstall()
    assert [counts.low_rank, counts.alpha] == installed
    for kind, total in (("low_rank", counts.low_rank), ("alpha", counts.alpha)):
        assert sum(group[kind] for group in counts.groups.values()) == total


@pytest.mark.parametrize(
    ("method", "lora_modules", "alpha_layers"), [("lora", 8, 0), ("coeff", 0, 8), ("coeff-lora", 8, 8)]
)
def test_the_record_of_a_run_says_what_was_installed(unet, method, lora_modules, alpha_layers):
    """q and v of the four cross-attention layers, coefficients in all eight; the share is of the UNet's own."""
    config = TrainConfig(method=method)
    counts = count_parameters(unet, config, method)
    adapter = install(unet, spec_for(config, unet))
    assert parameter_summary(adapter, counts.unet) == Parameters(
        unet=counts.unet,
        lora=counts.low_rank,
        alpha=counts.alpha,
        trained=counts.trained,
        percent=pytest.approx(counts.percent),
        lora_modules=lora_modules,
        alpha_layers=alpha_layers,
    )


def test_shapes_are_enough(loaded_unet):
    """`params` counts SDXL without its weights."""
    import copy

    shapes = copy.deepcopy(loaded_unet).to(torch.device("meta"))
    assert count_parameters(shapes, TrainConfig(), "coeff-lora").trained == 4 * 256 + 8 * 16
