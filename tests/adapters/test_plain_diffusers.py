"""The LoRA file in the hands of plain diffusers, through its whole SDXL pipeline."""

from __future__ import annotations

import copy

import pytest
import torch

from coeffdream.adapters.files import load_adapter, save_adapter
from coeffdream.adapters.install import install, spec_for
from coeffdream.backbones.fingerprint import architecture_of
from coeffdream.config import TrainConfig
from coeffdream.records.run import COEFF_FILE, LORA_FILE

# diffusers' schedulers hand tensors to numpy in a way that NumPy 2 deprecates.


@pytest.fixture(scope="module")
def base_pipeline(tiny_base):
    from diffusers import StableDiffusionXLPipeline

    pipeline = StableDiffusionXLPipeline.from_pretrained(tiny_base, add_watermarker=False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture
def pipeline(base_pipeline):
    """One of its own: loading a LoRA changes the UNet."""
    return type(base_pipeline)(**{**base_pipeline.components, "unet": copy.deepcopy(base_pipeline.unet)})


def draw(pipeline) -> torch.Tensor:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline(
        "a photo of a sks cat",
        latents=torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)),
        height=32,
        width=32,
        num_inference_steps=2,
        output_type="pt",
    ).images


def of(method):
    """How far two drawings may lie apart."""
    return {"rtol": 0, "atol": 1e-5 if method.endswith("dora") else 0}


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_diffusers_draws_our_picture_from_our_file(pipeline, base_pipeline, teach, tmp_path, method):
    """Nothing but load_lora_weights: same layers, same rank, same scale, same bits; DoRA's norms to rounding, for PEFT
    takes them of the whole W + BA."""
    base = draw(pipeline)
    ours = copy.deepcopy(base_pipeline.unet)
    architecture = architecture_of(ours)
    adapter = teach(install(ours, spec_for(TrainConfig(method=method, lora_targets="all.q,all.out"), ours)))
    save_adapter(adapter, tmp_path, architecture)
    with_ours = draw(type(pipeline)(**{**pipeline.components, "unet": ours}))

    pipeline.load_lora_weights(tmp_path)
    torch.testing.assert_close(draw(pipeline), with_ours, **of(method))
    assert (with_ours - base).abs().max() > 1e-3
    pipeline.unload_lora_weights()
    assert torch.equal(draw(pipeline), base)


@pytest.mark.parametrize("method", ["coeff-lora", "coeff-dora"])
def test_the_lora_half_loads_without_the_coefficients(pipeline, base_pipeline, teach, tmp_path, method):
    """diffusers draws what we draw with --alpha-scale 0; the coefficients lie beside, unread."""
    ours = copy.deepcopy(base_pipeline.unet)
    architecture = architecture_of(ours)
    adapter = teach(install(ours, spec_for(TrainConfig(method=method), ours)))
    save_adapter(adapter, tmp_path, architecture)
    adapter.set_scales(alpha=0.0)
    without_alpha = draw(type(pipeline)(**{**pipeline.components, "unet": ours}))
    assert (tmp_path / COEFF_FILE).is_file()
    pipeline.load_lora_weights(tmp_path, weight_name=LORA_FILE)
    torch.testing.assert_close(draw(pipeline), without_alpha, **of(method))


def test_a_reloaded_adapter_draws_the_same_pixels(pipeline, base_pipeline, teach, tmp_path):
    """Through our own loader, with the coefficients in it."""
    ours, again = copy.deepcopy(base_pipeline.unet), copy.deepcopy(base_pipeline.unet)
    architecture = architecture_of(ours)
    adapter = teach(install(ours, spec_for(TrainConfig(method="coeff-dora"), ours)))
    save_adapter(adapter, tmp_path, architecture)
    load_adapter(again, tmp_path, architecture)
    first, second = (draw(type(pipeline)(**{**pipeline.components, "unet": unet})) for unet in (ours, again))
    assert torch.equal(first, second)
