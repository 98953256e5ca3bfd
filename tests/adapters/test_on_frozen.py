"""LoRA, DoRA and alpha on a base whose weights are kept in fewer bits, or off the device.

Held against the same adapter on a plain UNet that has the weights that are left of them.
"""

from __future__ import annotations

import copy

import pytest
import torch

from coeffdream.adapters.install import install, spec_for
from coeffdream.adapters.lora import compute_in_base_dtype
from coeffdream.attention.checkpointing import checkpoint_keeping_attention
from coeffdream.backbones.frozen import FrozenLinear, check_form, freeze_linears, keep_linears_away
from coeffdream.config import TrainConfig

CPU = torch.device("cpu")
FORMS = ["fp8", "int8", "nf4"]
METHODS = ["lora", "dora", "coeff-lora", "coeff-dora"]
# Of the plain base's loss and of its gradients' norm: what rounding the weights of the miniature changes.
TOLERANCE = {"int8": (2e-3, 0.02), "fp8": (1e-2, 0.1), "nf4": (5e-2, 0.3)}


def left_of(plain, unet):
    """A plain copy that has the weights of a frozen UNet."""
    plain = copy.deepcopy(plain)
    for path, module in unet.named_modules():
        if isinstance(module, FrozenLinear):
            plain.get_submodule(path).weight.data = module.weight
    return plain


def learned(unet, method, predict, teach, *, checkpointing=False):
    """Loss and gradients of an adapter that has learned something."""
    config = TrainConfig(method=method, preset="paper", lora_targets="all.q,all.out", coeff_dropout=0)
    adapter = teach(install(unet, spec_for(config, unet)), 0.05)
    compute_in_base_dtype(adapter)
    if checkpointing:
        unet.enable_gradient_checkpointing(checkpoint_keeping_attention)
    unet.train()
    loss = predict(unet).float().square().mean()
    loss.backward()
    return loss.item(), {name: parameter.grad for name, parameter in adapter.trainable.items()}


def same(one, other):
    assert one[0] == other[0]
    assert one[1].keys() == other[1].keys()
    assert all(torch.equal(value, other[1][name]) for name, value in one[1].items())


@pytest.fixture(autouse=True)
def operators():
    check_form("nf4", CPU)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("method", ["coeff-lora", "coeff-dora"])
def test_it_learns_what_it_would_on_the_weights_that_are_left(unet, predict, teach, form, method):
    """Loss and every gradient to the last bit, though W is made anew for each product and never kept."""
    rounded = copy.deepcopy(unet)
    freeze_linears(rounded, form, CPU)
    wanted = learned(left_of(unet, rounded), method, predict, teach)
    same(learned(rounded, method, predict, teach), wanted)


@pytest.mark.parametrize("form", FORMS)
def test_what_rounding_changes(unet, predict, teach, form):
    """Loss and gradients stay within what the documentation says of each form."""
    rounded = copy.deepcopy(unet)
    freeze_linears(rounded, form, CPU)
    loss, gradients = learned(unet, "coeff-lora", predict, teach)
    got, off = learned(rounded, "coeff-lora", predict, teach)
    of_loss, of_gradients = TOLERANCE[form]
    assert 0 < abs(got - loss) < of_loss * loss
    flat = torch.cat([value.flatten() for value in gradients.values()])
    change = torch.cat([(off[name] - value).flatten() for name, value in gradients.items()])
    assert 0 < change.norm() < of_gradients * flat.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    ("method", "form"), [("coeff-lora", "auto"), ("coeff-dora", "auto"), ("coeff-lora", "nf4")]
)
def test_off_the_device_is_the_same_to_the_last_bit(unet, predict, teach, form, method, dtype):
    """With gradient checkpointing, which fetches every weight once more."""
    unet.to(dtype)
    freeze_linears(unet, form, CPU)
    away = copy.deepcopy(unet)
    keep_linears_away(away)
    wanted = learned(unet, method, predict, teach, checkpointing=True)
    same(learned(away, method, predict, teach, checkpointing=True), wanted)


@pytest.mark.parametrize("method", METHODS)
def test_taken_out_again_without_a_trace(unet, predict, teach, method):
    """The layers that were there are there, and draw what they drew."""
    freeze_linears(unet, "int8", CPU)
    before, modules = predict(unet), dict(unet.named_modules())
    config = TrainConfig(method=method)
    adapter = teach(install(unet, spec_for(config, unet)))
    assert not torch.equal(predict(unet), before)
    adapter.set_scales(lora=0, alpha=0)
    assert torch.allclose(predict(unet), before, atol=1e-5)
    adapter.uninstall()
    assert torch.equal(predict(unet), before)
    after = dict(unet.named_modules())
    assert after.keys() == modules.keys()
    assert all(isinstance(after[path], type(module)) for path, module in modules.items())
