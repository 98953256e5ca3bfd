"""The real SDXL's architecture, at full size and without its weights: shapes, gradients and counts."""

from __future__ import annotations

import resource
import time

import pytest
import torch

from coeffdream.adapters.count import count_parameters
from coeffdream.adapters.install import install, spec_for
from coeffdream.adapters.layers import attention_layers
from coeffdream.backbones.base import find_base
from coeffdream.backbones.encode import Conditioning, LatentPosterior
from coeffdream.backbones.load import meta_unet
from coeffdream.config import TrainConfig
from coeffdream.diffusion.noise import normal
from coeffdream.resolve import resolve
from coeffdream.training.encoded import TrainingSample
from coeffdream.training.step import Draw, losses

UNET_PARAMETERS = 2_567_463_684

# Rank-2 LoRA on to_q and to_v of every cross-attention; alpha of the mid block's 20 layers of 20 heads.
TABLE_3 = {
    "lora": (785_920, 0, "0.0306"),
    "dora": (952_320, 0, "0.0371"),
    "coeff-lora": (785_920, 8_000, "0.0309"),
    "coeff-dora": (952_320, 8_000, "0.0374"),
}


@pytest.fixture(scope="module")
def sdxl():
    return meta_unet(find_base("sdxl"))


def step(unet, adapter, side: int) -> torch.Tensor:
    """Forward and backward of one training step, by the code that trains any base, on latents of `side`."""
    adapter.set_masks(adapter.drawn_masks(0, 0))
    shapes = {"latents": (4, side, side), "text": (77, 2048), "pooled": (1280,)}
    latents, text, pooled = (normal(shape, 0, purpose) for purpose, shape in shapes.items())
    conditioning = Conditioning(text, pooled, text, pooled)
    time_ids = (8 * side, 8 * side, 0, 0, 8 * side, 8 * side)
    sample = TrainingSample("photo", LatentPosterior(latents, latents), time_ids, conditioning)
    loss = losses(
        unet,
        [Draw(sample, 500, latents, normal(shapes["latents"], 0, "noise"), 1.0)],
        unet.device,
        unet.dtype,
    )
    assert loss.shape == (1,)
    loss.sum().backward()
    return loss.detach()


@pytest.mark.parametrize("method", ["coeff-lora", "coeff-dora"])
def test_a_step_at_1024_reaches_every_trainable_and_nothing_else(sdxl, method):
    """The step that --base sdxl takes, shapes only: alpha in all 140 attention layers, checkpointing on."""
    adapter = install(sdxl, spec_for(TrainConfig(method=method), sdxl))
    sdxl.train()
    sdxl.enable_gradient_checkpointing()
    try:
        step(sdxl, adapter, 128)
        assert len(adapter.alpha) == 140
        assert sum(alpha.numel() for alpha in adapter.alpha.values()) == 50_000
        trained = {id(parameter) for parameter in adapter.trainable.values()}
        for name, parameter in sdxl.named_parameters():
            if id(parameter) in trained:
                assert parameter.grad is not None, name
                assert parameter.grad.shape == parameter.shape, name
                assert parameter.grad.dtype == torch.float32, name
                trained.remove(id(parameter))
            else:
                assert parameter.grad is None, name
        assert not trained
    finally:
        adapter.uninstall()
        sdxl.disable_gradient_checkpointing()


def test_the_layers_are_those_of_the_paper(sdxl):
    """140 attention layers: 10 + 10 of 10 heads, 60 + 60 of 20 heads, 64 channels each."""
    layers = attention_layers(sdxl)
    counted = {
        (kind, heads): sum(1 for layer in layers if (layer.kind, layer.heads) == (kind, heads))
        for kind in ("self", "cross")
        for heads in (10, 20)
    }
    assert counted == {("self", 10): 10, ("cross", 10): 10, ("self", 20): 60, ("cross", 20): 60}
    assert len(layers) == 140
    assert {layer.module.to_q.out_features // layer.heads for layer in layers} == {64}


@pytest.mark.parametrize("method", TABLE_3)
def test_table_3_counts(sdxl, method):
    """The paper's Table 3, to the digit it prints."""
    low_rank, alpha, percent = TABLE_3[method]
    counts = count_parameters(sdxl, resolve({"preset": "table3"}).config, method)
    assert counts.unet == UNET_PARAMETERS
    assert (counts.low_rank, counts.alpha) == (low_rank, alpha)
    assert counts.trained == low_rank + alpha
    assert f"{counts.percent:.4f}" == percent
    assert sum(group["low_rank"] for group in counts.groups.values()) == low_rank
    assert sum(group["alpha"] for group in counts.groups.values()) == alpha
    assert sum(group["layers"] for group in counts.groups.values()) == 140


def test_the_papers_text_is_the_other_count(sdxl):
    """Alpha in every attention layer is 50,000 coefficients, not the table's 8,000."""
    counts = count_parameters(sdxl, resolve({}).config, "coeff-lora")
    assert (counts.low_rank, counts.alpha) == (785_920, 50_000)
    assert counts.groups["mid_block self"] == {"layers": 10, "low_rank": 0, "alpha": 4_000}


def test_counting_leaves_the_unet_as_it_was(sdxl):
    """All five methods are counted on one UNet in turn."""
    names = list(sdxl.state_dict())
    count_parameters(sdxl, resolve({}).config, "coeff-dora")
    assert list(sdxl.state_dict()) == names


@pytest.mark.slow
def test_a_real_step_on_the_full_architecture():
    """Seeded random weights in float32, 256 pixels: about 12 GB. Prints its time and peak memory."""
    started = time.perf_counter()
    unet = meta_unet(find_base("sdxl")).to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in unet.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, parameter[0].numel() ** -0.5, generator=generator)
            else:
                parameter.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)
    filled = time.perf_counter()
    adapter = install(unet, spec_for(TrainConfig(), unet))
    unet.train()
    unet.enable_gradient_checkpointing()
    optimizer = torch.optim.Adam(adapter.trainable.values(), lr=3e-4)
    before = {name: parameter.detach().clone() for name, parameter in adapter.trainable.items()}
    loss = step(unet, adapter, 32)
    assert torch.isfinite(loss)
    assert all(torch.isfinite(parameter.grad).all() for parameter in adapter.trainable.values())
    assert all(parameter.grad.any() for parameter in adapter.alpha.values())
    assert all(parameter.grad is None for parameter in unet.parameters() if not parameter.requires_grad)
    optimizer.step()
    changed = [
        name for name, parameter in adapter.trainable.items() if not torch.equal(parameter, before[name])
    ]
    # B starts at zero, so A has no gradient in the first step; alpha has, but for what dropout left out.
    assert {name for name in changed if "lora_A" in name} == set()
    assert {name for name in before if "lora_B" in name or name.endswith(".alpha")} <= set(changed)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"\nfilled in {filled - started:.0f} s, step in {time.perf_counter() - filled:.0f} s, peak {peak:.1f} GiB"
    )
