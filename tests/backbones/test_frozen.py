"""Frozen layers whose weight is kept in fewer bits or off the device: what it then is, and that nothing else changes."""

from __future__ import annotations

import copy
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from coeffdream.backbones.base import find_base
from coeffdream.backbones.footprint import weight_bytes, weights_of
from coeffdream.backbones.frozen import (
    FORMS,
    FrozenLinear,
    check_form,
    freeze_linears,
    keep_linears_away,
)
from coeffdream.backbones.load import load_components
from coeffdream.errors import ConfigError

CPU = torch.device("cpu")
ROUNDED = ["fp8", "int8", "nf4"]
# Appendix E of arXiv 2305.14314.
NF4 = [-1.0, -0.6961928, -0.52507305, -0.39491749, -0.28444138, -0.18477343, -0.09105004, 0.0]
NF4 += [0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0]


@pytest.fixture(autouse=True)
def operators():
    """nf4's are a package's own."""
    check_form("nf4", CPU)


def linear(dtype=torch.float32, *, bias=True):
    torch.manual_seed(0)
    layer = nn.Linear(48, 20, bias=bias).to(dtype).requires_grad_(False)
    layer.weight[3] = 0  # what has no scale
    layer.weight[5] *= 1e-3
    return layer


def frozen(layer, form):
    return FrozenLinear(layer, form, CPU)


def by_definition(weight, form):
    """Each weight's nearest among those that the form has, one number after another."""
    rows = weight.double()
    if form == "nf4":
        blocks, values = rows.flatten().split(64), torch.tensor(NF4).double()
        near = [
            values[(block[:, None] / block.abs().max() - values).abs().argmin(1)] * block.abs().max()
            for block in blocks
        ]
        return torch.cat(near).view(weight.shape)
    if form == "int8":
        values = torch.arange(-127, 128).double()
    else:
        values = torch.arange(256).to(torch.uint8).view(torch.float8_e4m3fn).double()
        values = values[values.isfinite()]
    largest = values.max()
    near = []
    for row in rows:
        scale = row.abs().max() / largest
        near.append(
            values[(row[:, None] / scale - values).abs().argmin(1)] * scale
            if scale
            else torch.zeros_like(row)
        )
    return torch.stack(near)


@pytest.mark.parametrize("form", ROUNDED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_a_weight_is_the_nearest_that_the_form_has(form, dtype):
    """Rows of zeros and of small weights too; what comes back is rounded to the base's dtype, and to nothing else."""
    layer = linear(dtype)
    got, weight = frozen(layer, form).weight, layer.weight.double()
    assert got.dtype == dtype
    wanted = by_definition(weight, form)
    rounding = torch.finfo(dtype)
    room = wanted.abs() * rounding.eps + rounding.smallest_normal * rounding.eps
    room += weight.abs().amax(1, keepdim=True) * 1e-6  # scales are float32
    assert ((got.double() - weight).abs() <= (wanted - weight).abs() + room).all()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("away", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_it_is_the_plain_layer_of_that_weight(form, away, bias):
    """Output and gradient to the last bit, and nothing of it is kept for the way back."""
    layer = linear(bias=bias)
    kept = frozen(layer, form)
    if away:
        kept.keep_away()
    plain = copy.deepcopy(layer)
    plain.weight.copy_(kept.weight)
    x = torch.randn(2, 7, 48, generator=torch.Generator().manual_seed(1))
    found, saved = [], []
    for each in (plain, kept):
        given = x.clone().requires_grad_()
        saved.clear()
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor: saved.append(tensor) or tensor, lambda tensor: tensor
        ):
            out = each(given)
        out.square().sum().backward()
        found.append((out.detach(), given.grad))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    assert saved == []
    assert all(not parameter.requires_grad for parameter in kept.parameters())


def test_a_bias_that_learns_gets_its_gradient():
    """Nothing that asks for one is left without, and what does not ask costs nothing."""
    layer = linear()
    kept = frozen(layer, "int8")
    kept.bias.requires_grad_()
    x = torch.randn(2, 7, 48, generator=torch.Generator().manual_seed(1))
    kept(x).square().sum().backward()
    plain = copy.deepcopy(layer)
    plain.weight.copy_(kept.weight)
    plain.bias.requires_grad_()
    plain(x).square().sum().backward()
    assert torch.allclose(kept.bias.grad, plain.bias.grad, rtol=1e-5)


def test_what_is_away_stays_where_it_is():
    """The layer goes to a device with its bias alone, and asks for its weight there."""
    kept = frozen(linear(), "auto")
    assert weight_bytes(kept) == 4 * (48 * 20 + 20)
    kept.keep_away()
    kept.keep_away()  # again is nothing more
    before = kept.weight
    assert weight_bytes(kept) == 4 * 20
    assert kept.to("meta").weight.is_meta
    assert torch.equal(kept.to_empty(device=CPU).weight, before)


@pytest.mark.parametrize(("form", "bits"), [("fp8", 8), ("int8", 8), ("nf4", 4.5)])
def test_how_much_is_kept(form, bits):
    """So many bits a weight, and 32 for a row's scale."""
    layer = nn.Linear(1280, 64, bias=False).to(torch.bfloat16)
    rows = 0 if form == "nf4" else 64
    assert weight_bytes(frozen(layer, form)) == 1280 * 64 * bits / 8 + 4 * rows


def test_the_layers_of_the_blocks_and_no_others(components):
    """Everything else of the UNet is the tensor that it was."""
    unet = copy.deepcopy(components.unet)
    before = dict(unet.named_parameters())
    freeze_linears(unet, "auto", CPU)
    assert not any(isinstance(module, FrozenLinear) for module in unet.modules())
    freeze_linears(unet, "int8", CPU)
    changed = {name for name, module in unet.named_modules() if isinstance(module, FrozenLinear)}
    assert changed == {
        name
        for name, module in components.unet.named_modules()
        if isinstance(module, nn.Linear) and ".attentions." in name
    }
    assert len(changed) > 40
    left = dict(unet.named_parameters())
    assert before.keys() - left.keys() == {f"{name}.weight" for name in changed}
    assert all(left[name] is before[name] for name in left)
    keep_linears_away(unet)
    assert {name for name, module in unet.named_modules() if isinstance(module, FrozenLinear)} == changed
    assert weight_bytes(unet) == sum(parameter.nbytes for parameter in left.values())


@pytest.mark.parametrize("form", ROUNDED)
def test_a_base_is_known_by_what_it_was(tiny_base, form, components):
    """Fingerprint and count are of its files, so that adapters fit it in every base precision."""
    loaded = load_components(find_base(str(tiny_base)), device=CPU, dtype=torch.float32, base_precision=form)
    assert loaded.base_precision == form
    assert loaded.identity() == components.identity()
    assert loaded.parameters == sum(parameter.numel() for parameter in components.unet.parameters())
    assert loaded.unet.dtype == torch.float32
    assert sum(map(torch.numel, weights_of(loaded.unet))) > 0
    assert weight_bytes(loaded.unet) < weight_bytes(components.unet)


def test_a_machine_that_lacks_what_it_wants(monkeypatch):
    """One line before anything is loaded, with what to install or to take instead."""
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ConfigError, match=r"--base-precision nf4 .* pip install 'coeffdream\[quant\]'$"):
        check_form("nf4", CPU)
    with pytest.raises(ConfigError, match=r"--base-precision fp8: .* use int8 or nf4$"):
        check_form("fp8", torch.device("mps"))
    for form in ("auto", "fp8", "int8"):
        check_form(form, CPU)


def test_a_plain_linear_gets_the_same_from_bfloat16():
    """An input of the base's dtype is never cast on its way."""
    kept = frozen(linear(torch.bfloat16), "int8")
    x = torch.randn(3, 48, generator=torch.Generator().manual_seed(1)).bfloat16()
    assert torch.equal(kept(x), F.linear(x, kept.weight, kept.bias))
