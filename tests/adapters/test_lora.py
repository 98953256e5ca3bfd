"""LoRA in the base's dtype: PEFT's to rounding, and only where nothing else relies on PEFT's cast."""

from __future__ import annotations

import contextlib
import copy

import pytest
import torch
from peft import LoraConfig

from coeffdream.adapters.install import ADAPTER_NAME, AdapterSpec, install
from coeffdream.adapters.lora import CastOnce, InBaseDtype, compute_in_base_dtype

PATHS = tuple(f"mid_block.attentions.0.transformer_blocks.0.attn{n}.to_{p}" for n in (1, 2) for p in "qkv")
# In norm: what passes is rounded to the base's dtype twice more on its way through B A.
ROUNDING = {torch.bfloat16: 8e-3, torch.float16: 1e-3}


def passed(layer, dtype):
    """Output and gradients of the input, A and B."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 7, layer.in_features, generator=generator).to(dtype).requires_grad_()
    out = layer(x)
    given = torch.randn(out.shape, generator=generator).to(out.dtype)
    trained = [part[ADAPTER_NAME].weight for part in (layer.lora_A, layer.lora_B)]
    return [out.detach(), *torch.autograd.grad(out, [x, *trained], given)]


@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_output_and_gradients_are_pefts_to_rounding(unet, teach, dtype, scale):
    """The weights and their gradients stay float32."""
    adapter = teach(install(unet.to(dtype), AdapterSpec(lora=PATHS)))
    adapter.set_scales(lora=scale)
    layer = unet.get_submodule(PATHS[0])
    wanted = passed(layer, dtype)
    compute_in_base_dtype(adapter)
    assert isinstance(layer.lora_variant[ADAPTER_NAME], InBaseDtype)
    got = passed(layer, dtype)
    for mine, theirs in zip(got, wanted, strict=True):
        assert mine.dtype == theirs.dtype
        assert (mine - theirs).float().norm() < ROUNDING[dtype] * theirs.float().norm()
    assert got[2].dtype == got[3].dtype == torch.float32


def test_nothing_learned_leaves_the_base_to_the_last_bit(unet, predict):
    """Step 0 is the untouched model."""
    unet.to(torch.bfloat16)
    before = predict(unet)
    compute_in_base_dtype(install(unet, AdapterSpec(lora=PATHS)))
    assert torch.equal(predict(unet), before)


def test_a_base_in_float32_stays_pefts(unet, teach, predict):
    """There is nothing to save, and equality with diffusers' own script holds to the last bit."""
    adapter = teach(install(unet, AdapterSpec(lora=PATHS)))
    before = predict(unet)
    compute_in_base_dtype(adapter)
    assert torch.equal(predict(unet), before)
    assert not unet.get_submodule(PATHS[0]).lora_variant


def test_beside_another_lora_peft_goes_on_casting(unet, teach, predict):
    """Its float32 weights would meet an input in half precision."""
    unet.to(torch.bfloat16)
    unet.add_adapter(LoraConfig(r=2, target_modules=[PATHS[0]]), adapter_name="other")
    adapter = teach(install(unet, AdapterSpec(lora=PATHS)))
    before = predict(copy.deepcopy(unet))
    compute_in_base_dtype(adapter)
    assert not unet.get_submodule(PATHS[0]).lora_variant
    assert isinstance(unet.get_submodule(PATHS[1]).lora_variant[ADAPTER_NAME], InBaseDtype)
    assert (predict(unet) - before).float().norm() < 0.05 * before.float().norm()


@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
def test_weights_cast_once_give_the_same_bits_and_gradients(unet, teach, predict, dtype):
    """A pass adds to the gradients that are there, scale included, and leaves no cast behind."""
    adapter = teach(install(unet.to(dtype), AdapterSpec(lora=PATHS)))
    adapter.set_scales(lora=0.5)
    compute_in_base_dtype(adapter)
    found = []
    for way in (contextlib.nullcontext, CastOnce(adapter).of_a_pass):
        for parameter in adapter.trainable.values():
            parameter.grad = None
        for _ in range(2):
            with way():
                out = predict(unet)
                out.float().square().sum().backward()
        gradients = [parameter.grad.clone() for parameter in adapter.trainable.values()]
        found.append([out.detach(), *gradients])
    assert all(torch.equal(mine, plain) for plain, mine in zip(*found, strict=True))
    assert all(unet.get_submodule(path).lora_variant[ADAPTER_NAME].cast is None for path in PATHS)
