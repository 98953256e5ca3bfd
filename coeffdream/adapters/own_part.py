"""`full` and `bitfit`: attention's own weights or biases trained, kept as what is added to them.

The sum is the same training as that of the weights themselves, but for float32's rounding beside a base in half
precision; the base stays as it is, so that zero is exactly the base, and a file holds the change alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coeffdream.adapters.other import Other
from coeffdream.methods import OURS


class ChangedLinear(nn.Module):
    """A linear layer whose weight [out, in], bias [out] or both have a float32 change added to them."""

    def __init__(self, base_layer: nn.Linear, parts: tuple[str, ...]) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.strength = 1.0
        for part in ("weight", "bias"):
            base = getattr(base_layer, part)
            trained = base is not None and part in parts
            zeros = torch.zeros(base.shape, device=base.device) if trained else None
            self.register_parameter(f"{part}_change", nn.Parameter(zeros) if zeros is not None else None)

    @property
    def weight(self) -> Tensor:
        return self._changed("weight")

    @property
    def bias(self) -> Tensor | None:
        return None if self.base_layer.bias is None else self._changed("bias")

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] -> [..., out]."""
        return F.linear(x, self.weight, self.bias)

    def get_base_layer(self) -> nn.Linear:
        return self.base_layer

    @torch.no_grad()
    def merge(self, safe_merge: bool = False) -> None:
        """Add the change to the layer itself for good, as PEFT's layers do."""
        for part in ("weight", "bias"):
            if (base := getattr(self.base_layer, part)) is not None:
                base.copy_(self._changed(part))
        self.strength = 0.0

    def _changed(self, part: str) -> Tensor:
        base, change = getattr(self.base_layer, part), getattr(self, f"{part}_change")
        return base if change is None else (base.float() + self.strength * change).to(base.dtype)


class OwnPart:
    """One of our own methods in a UNet."""

    def __init__(self, unet: Any, other: Other) -> None:
        self.parameters: dict[str, nn.Parameter] = {}
        self._unet, self._layers = unet, {}
        for path in other.modules:
            layer = ChangedLinear(unet.get_submodule(path), OURS[other.name])
            self._put(path, layer)
            self._layers[path] = layer
            for name, parameter in layer.named_parameters(recurse=False):
                self.parameters[f"{path}.{name.removesuffix('_change')}"] = parameter

    def tensors(self) -> dict[str, Tensor]:
        return dict(self.parameters)

    @torch.no_grad()
    def fill(self, tensors: Mapping[str, Tensor]) -> None:
        for name, value in tensors.items():
            self.parameters[name].copy_(value)

    def draw(self, seed: int, step: int) -> None:
        """Nothing is drawn."""

    def set_scale(self, scale: float) -> None:
        for layer in self._layers.values():
            layer.strength = scale

    def fault(self) -> str | None:
        there = (path for path, layer in self._layers.items() if self._unet.get_submodule(path) is not layer)
        replaced = next(there, None)
        return replaced and f"{replaced} was replaced by another layer"

    def take_out(self) -> None:
        for path, layer in self._layers.items():
            self._put(path, layer.base_layer)

    def _put(self, path: str, layer: nn.Module) -> None:
        parent, _, name = path.rpartition(".")
        setattr(self._unet.get_submodule(parent), name, layer)
