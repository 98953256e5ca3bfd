"""The fast DoRA is PEFT's: values and gradients, whatever the dtype, dropout, bias and scale."""

from __future__ import annotations

import copy

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora.variants import DoraLinearVariant
from torch import nn

from coeffdream.adapters.dora import ExactDora, changed_row_norms, hasten, row_norms
from coeffdream.adapters.install import AdapterSpec, install

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
# Of the norm: the adapter's arithmetic is float32 beside any base, whose own dtype rounds what enters and leaves.
ROUNDING = {torch.float32: 1e-6, torch.bfloat16: 4e-3, torch.float16: 5e-4}


def layer_with_dora(dtype=torch.float32, *, bias=False, dropout=0.0, alpha=3, learned=0.1):
    """A PEFT DoRA layer [40 -> 24] of rank 3 with float32 adapters that have learned something."""
    torch.manual_seed(0)
    model = nn.Sequential()
    model.add_module("proj", nn.Linear(40, 24, bias=bias).to(dtype))
    config = LoraConfig(r=3, lora_alpha=alpha, use_dora=True, lora_dropout=dropout, target_modules=["proj"])
    inject_adapter_in_model(config, model, "default")
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.float() + learned * torch.randn(parameter.shape)
    return model


def passed(model, dtype=torch.float32):
    """Output, and the gradients of the input and of every trained parameter."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 7, 40, generator=generator).to(dtype).requires_grad_()
    torch.manual_seed(2)  # of dropout
    out = model(x)
    out.backward(torch.randn(out.shape, generator=generator).to(out.dtype))
    return {
        "out": out.detach(),
        "x": x.grad,
        **{name: p.grad for name, p in model.named_parameters() if "lora_" in name},
    }


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bias": True},
        {"dropout": 0.4},
        {"bias": True, "dropout": 0.4},
        {"alpha": 7},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_output_and_gradients_are_pefts(dtype, options):
    """A shortcut through the algebra must not become another method."""
    plain = layer_with_dora(dtype, **options)
    fast = copy.deepcopy(plain)
    hasten(fast.proj, "default")
    assert type(plain.proj.lora_variant["default"]) is DoraLinearVariant
    wanted, got = passed(plain, dtype), passed(fast, dtype)
    assert got.keys() == wanted.keys()
    assert got["out"].dtype == wanted["out"].dtype == dtype
    for name, tensor in wanted.items():
        assert tensor.abs().sum() > 0, name
        error = (got[name] - tensor).double().norm() / tensor.double().norm()
        assert error < ROUNDING[dtype], (name, error.item())


def test_dropout_is_off_when_drawing():
    """PEFT then measures the result it was given, not a second pass through W."""
    plain = layer_with_dora(dropout=0.4)
    fast = copy.deepcopy(plain)
    hasten(fast.proj, "default")
    x = torch.randn(5, 40)
    torch.testing.assert_close(fast.eval()(x), plain.eval()(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [1e-4, 1.0, 30.0])
def test_the_norms_are_those_of_w_plus_ba(size):
    """From no change to one that leaves nothing of W, held against float64."""
    generator = torch.Generator().manual_seed(0)
    weight, down, up = (torch.randn(shape, generator=generator) for shape in ((64, 96), (4, 96), (64, 4)))
    up *= size
    wanted = torch.linalg.norm(weight.double() + 0.5 * up.double() @ down.double(), dim=1)
    got = changed_row_norms(weight, row_norms(weight).square(), down, up, 0.5)
    torch.testing.assert_close(got.double(), wanted, rtol=2e-6, atol=0)


def test_nothing_learned_leaves_the_norms_to_the_last_bit():
    """Magnitude over norm is then exactly 1, and step 0 the untouched model."""
    weight = torch.randn(4096, 50, generator=torch.Generator().manual_seed(0)) * 0.02
    norms = row_norms(weight)
    got = changed_row_norms(weight, norms.square(), torch.randn(2, 50), torch.zeros(4096, 2), 1.0)
    assert torch.equal(got, norms)


def test_a_row_that_was_cancelled_has_no_imaginary_norm():
    """Rounding may take its square below zero; NaN would then be drawn where PEFT gives a number."""
    weight = torch.randn(32, 16, generator=torch.Generator().manual_seed(0))
    rows, columns = torch.linalg.svd(weight, full_matrices=False)[0::2]
    weight = rows[:, :1] @ columns[:1]
    norms = changed_row_norms(weight, row_norms(weight).square(), columns[:1], -rows[:, :1], 1.0)
    assert torch.isfinite(norms).all()
    assert norms.max() < 1e-3


def test_autocast_does_not_round_the_norms():
    """Else a training under autocast would follow other norms than one without."""
    weight, down, up = torch.randn(24, 40), torch.randn(3, 40), torch.randn(24, 3)
    outside = changed_row_norms(weight, row_norms(weight).square(), down, up, 1.0)
    with torch.autocast("cpu", torch.bfloat16):
        inside = changed_row_norms(weight, row_norms(weight).square(), down, up, 1.0)
    assert torch.equal(inside, outside)


def test_installed_adapters_are_fast_and_merge_as_pefts(unet):
    """The way that `install` takes; merging and its undoing stay PEFT's own."""
    path = "mid_block.attentions.0.transformer_blocks.0.attn2.to_q"
    adapter = install(unet, AdapterSpec(dora=True, lora=(path,)))
    layer = unet.get_submodule(path)
    assert isinstance(layer.lora_variant["default"], ExactDora)
    with torch.no_grad():
        for parameter in adapter.trainable.values():
            parameter += 0.1 * torch.randn(parameter.shape)
        x = torch.randn(3, layer.in_features)
        apart = layer(x)
        layer.merge()
        torch.testing.assert_close(layer(x), apart, rtol=1e-4, atol=1e-5)
        layer.unmerge()
    assert "base_squares" not in str(list(unet.state_dict()))
