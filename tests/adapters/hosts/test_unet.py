"""The same functions on a UNet of diffusers: two lines in anybody's own training script."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from coeffdream import (
    add_coefficients,
    coefficients_of,
    load_coefficients,
    remove_coefficients,
    save_coefficients,
)
from coeffdream.adapters.install import AdapterSpec, install
from coeffdream.adapters.layers import attention_layers
from coeffdream.errors import AdapterError, AttentionError


@pytest.fixture(scope="module")
def loaded(tiny_base) -> Any:
    from diffusers import UNet2DConditionModel

    # A copy, since what was mapped from a file lies otherwise in memory and is summed in another order.
    return copy.deepcopy(UNet2DConditionModel.from_pretrained(tiny_base / "unet").eval())


@pytest.fixture
def unet(loaded) -> Any:
    return copy.deepcopy(loaded)


def predicted(unet: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    sample, text, pooled = (torch.randn(s, generator=generator) for s in ((1, 4, 8, 8), (1, 77, 32), (1, 16)))
    added = {"text_embeds": pooled, "time_ids": torch.tensor([[32.0, 32, 0, 0, 32, 32]])}
    return unet(sample, torch.tensor([500]), text, added_cond_kwargs=added).sample


def test_beside_a_lora_the_start_is_the_same_and_alpha_learns(unet: Any) -> None:
    from peft import LoraConfig

    before = predicted(unet)
    unet.requires_grad_(False)
    unet.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_v"]))
    made = add_coefficients(unet)
    assert len(made) == len(attention_layers(unet)) == 8
    assert torch.equal(predicted(unet), before)
    predicted(unet).square().mean().backward()
    trained = {path for path, each in unet.named_parameters() if each.requires_grad}
    assert {path for path in trained if "lora" not in path} == {
        f"{p}.processor.coefficients.alpha" for p in made
    }
    assert all(each.alpha.grad is not None and each.alpha.grad.any() for each in made.values())


def test_they_mix_as_an_adapter_of_a_run_does(unet: Any, loaded: Any, shaken: Any) -> None:
    made = add_coefficients(unet, layers="cross")
    shaken(made)
    other = copy.deepcopy(loaded)
    adapter = install(other, AdapterSpec(alpha=tuple(made)))
    with torch.no_grad():
        for path, alpha in adapter.alpha.items():
            alpha.copy_(made[path].alpha)
    assert torch.equal(predicted(unet), predicted(other))
    assert not torch.allclose(predicted(unet), predicted(loaded))


def test_dropout_is_drawn_each_forward_in_training_alone(unet: Any, shaken: Any) -> None:
    shaken(add_coefficients(unet, dropout=0.5))
    assert torch.equal(predicted(unet), predicted(unet))
    unet.train()
    assert not torch.allclose(predicted(unet), predicted(unet))


def test_saved_loaded_and_taken_out(unet: Any, loaded: Any, shaken: Any, tmp_path: Any) -> None:
    shaken(add_coefficients(unet, layers=r"mid_block|up_blocks"))
    save_coefficients(unet, tmp_path)
    other = copy.deepcopy(loaded)
    load_coefficients(other, tmp_path)
    assert torch.equal(predicted(other), predicted(unet))
    processors = {path: type(each) for path, each in loaded.attn_processors.items()}
    remove_coefficients(other)
    assert not coefficients_of(other)
    assert {path: type(each) for path, each in other.attn_processors.items()} == processors
    assert other.state_dict().keys() == loaded.state_dict().keys()
    assert torch.equal(predicted(other), predicted(loaded))


def test_what_a_run_put_in_is_left_to_it(unet: Any) -> None:
    adapter = install(unet, AdapterSpec(alpha=(attention_layers(unet)[0].path,)))
    assert len(coefficients_of(unet)) == 1
    with pytest.raises(AdapterError, match="already has coefficients"):
        add_coefficients(unet)
    with pytest.raises(AdapterError, match=r"what coeffdream\.load put in, coeffdream\.unload takes out"):
        remove_coefficients(unet)
    adapter.check_installed()


def test_attention_that_mixing_cannot_replace_is_named(unet: Any) -> None:
    unet.fuse_qkv_projections()
    with pytest.raises(AttentionError, match="its projections are fused"):
        add_coefficients(unet)
