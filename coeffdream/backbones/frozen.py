"""Frozen linear layers whose weight is kept in fewer bits, or off the device, and made anew for each product.

Weights only: what passes through a layer stays in the dtype of the base, and so do gradients. Shape letters: W [out, in].

diffusers' group off-loading cannot stand in for it: it takes weights away as soon as a layer has run forward, and
the backward passes of convolutions and norms read theirs later. The quantised layers of the libraries are adapted by
classes of PEFT's of their own; in every form these are linear layers to it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coeffdream.backbones.live_bytes import LiveBytes
from coeffdream.config import BasePrecision
from coeffdream.errors import ConfigError

Parts = tuple[Tensor, ...]
NF4_BLOCK = 64  # weights that share a scale, as in QLoRA (arXiv 2305.14314, section 3)


@dataclass(frozen=True)
class Form:
    """How a weight is kept: W as tensors, and back as W of a shape in a dtype."""

    encode: Callable[[Tensor], Parts]
    decode: Callable[[Parts, torch.Size, torch.dtype], Tensor]


def _by_row(dtype: torch.dtype, largest: float) -> Form:
    """Symmetric, one float32 scale for each row of W: `largest` is what its largest weight becomes."""

    def encode(weight: Tensor) -> Parts:
        rows = weight.float()
        scales = (rows.abs().amax(dim=1, keepdim=True) / largest).clamp_(min=torch.finfo(torch.float32).tiny)
        codes = rows / scales
        return (codes if dtype.is_floating_point else codes.round_()).to(dtype), scales

    def decode(parts: Parts, shape: torch.Size, wanted: torch.dtype) -> Tensor:
        codes, scales = parts
        return codes.to(wanted).mul_(scales)

    return Form(encode, decode)


def _encode_nf4(weight: Tensor) -> Parts:
    codes, scales = torch.ops.bitsandbytes.quantize_4bit(weight.contiguous(), NF4_BLOCK, "nf4", torch.uint8)
    return codes, scales


def _decode_nf4(parts: Parts, shape: torch.Size, wanted: torch.dtype) -> Tensor:
    decoded: Tensor = torch.ops.bitsandbytes.dequantize_4bit(*parts, NF4_BLOCK, "nf4", shape, wanted)
    return decoded


FORMS: dict[str, Form] = {
    "auto": Form(lambda weight: (weight,), lambda parts, shape, wanted: parts[0]),
    "fp8": _by_row(torch.float8_e4m3fn, torch.finfo(torch.float8_e4m3fn).max),
    "int8": _by_row(torch.int8, 127),
    "nf4": Form(_encode_nf4, _decode_nf4),
}


def check_form(base_precision: BasePrecision, device: torch.device) -> None:
    """Raises ConfigError where the machine lacks what a base precision wants."""
    if base_precision == "fp8" and device.type == "mps":
        raise ConfigError("--base-precision fp8: Apple's GPUs have no 8-bit floats; use int8 or nf4")
    if base_precision == "nf4":
        try:
            importlib.import_module("bitsandbytes")  # which registers the operators that are called above
        except ImportError as error:
            raise ConfigError(
                f"--base-precision nf4 needs the package bitsandbytes ({error}); install it with: "
                "pip install 'coeffdream[quant]'"
            ) from None


class FrozenLinear(nn.Linear):
    """A linear layer that never learns. `weight` is made when it is asked for, on the layer's device.

    PEFT puts its adapters around it as around any linear layer. form: a key of FORMS.
    """

    def __init__(self, layer: nn.Linear, form: str, device: torch.device) -> None:
        """Of a plain layer, whose weight is encoded on `device` and kept where it was."""
        nn.Module.__init__(self)  # nn.Linear's own would make a weight
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.dtype, self.form = layer.weight.dtype, FORMS[form]
        self.bias = layer.bias
        home = layer.weight.device
        with torch.no_grad():
            parts = self.form.encode(layer.weight.detach().to(device))
        for number, part in enumerate(parts):
            self.register_buffer(f"part{number}", part.to(home), persistent=False)
        self._count = len(parts)
        self._away: Parts | None = None
        self._place: Tensor
        self.register_buffer("_place", torch.empty(0, device=home), persistent=False)

    # Where nn.Linear has a parameter.
    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """W, or what is left of it in fewer bits, in the dtype of the base."""
        with torch.no_grad():
            parts = self._away
            if parts is None:
                parts = tuple(getattr(self, f"part{number}") for number in range(self._count))
            else:
                parts = tuple(part.to(self._place.device, non_blocking=True, copy=True) for part in parts)
            return self.form.decode(parts, torch.Size((self.out_features, self.in_features)), self.dtype)

    def keep_away(self) -> None:
        """From now on the weight waits in the memory of the CPU, wherever the layer is, and is brought each time."""
        if self._away is None:
            names = [f"part{number}" for number in range(self._count)]
            self._away = tuple(_waiting(getattr(self, name)) for name in names)
            for name in names:
                delattr(self, name)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] to [..., out]."""
        given: Tensor = _Product.apply(x, self.bias, self)
        return given


class _Product(torch.autograd.Function):
    """x W^T + b, of which nothing is kept for the way back: W is made again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor | None, layer: FrozenLinear) -> Tensor:
        ctx.layer = layer
        return F.linear(x, layer.weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        [gradient] = gradients
        of_x, of_bias, _ = ctx.needs_input_grad
        return (
            gradient @ ctx.layer.weight if of_x else None,
            gradient.flatten(0, -2).sum(0) if of_bias else None,
            None,
        )


def _waiting(part: Tensor) -> Tensor:
    """A tensor in the CPU's memory, from where a card fetches it by itself; of shapes alone where there are no values."""
    if part.is_meta:
        return part
    part = part.cpu()
    return part.pin_memory() if torch.cuda.is_available() else part


def freeze_linears(unet: nn.Module, form: str, device: torch.device) -> None:
    """Let the transformer blocks' linear layers, where most of a UNet's weights are, keep them in a form.

    One layer at a time, each encoded on `device`: never are there two UNets. form: auto leaves them as they are.
    """
    if form == "auto":
        return
    for parent, name, layer in list(_linears(unet)):
        setattr(parent, name, FrozenLinear(layer, form, device).train(layer.training))


def freezing(unet: nn.Module, form: str) -> int:
    """Bytes at work while the largest of those layers of a UNet of shapes is encoded, what comes of it among them."""
    layer = max((layer for _, _, layer in _linears(unet)), key=lambda each: each.weight.numel())
    with LiveBytes([layer.weight]) as counted:
        FrozenLinear(layer, form, layer.weight.device)
    return counted.peak


def keep_linears_away(unet: nn.Module) -> None:
    """Let the same layers' weights wait on the CPU, in the form that they have."""
    for parent, name, layer in list(_linears(unet)):
        if not isinstance(layer, FrozenLinear):
            layer = FrozenLinear(layer, "auto", layer.weight.device).train(layer.training)
            setattr(parent, name, layer)
        layer.keep_away()


def _linears(unet: nn.Module) -> Iterator[tuple[nn.Module, str, Any]]:
    """Parent, name and layer of each."""
    from diffusers.models.transformers.transformer_2d import Transformer2DModel

    for block in unet.modules():
        if isinstance(block, Transformer2DModel):
            for path, layer in block.named_modules():
                if isinstance(layer, nn.Linear):
                    parent, _, name = path.rpartition(".")
                    yield block.get_submodule(parent), name, layer
