"""LoRA's products in the dtype of the base, beside weights that stay float32.

PEFT multiplies in the adapter's own dtype: in float32 beside a base in half precision, for which everything that
passes is cast and lies in memory twice. Mixed precision multiplies in half precision, sums in float32 and rounds
what comes out, as the base's own layers do; so does this.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from peft.tuners.lora.layer import LoraVariant
from torch import Tensor

from coeffdream.adapters.install import Adapter
from coeffdream.adapters.peft_types import ADAPTER_NAME


class InBaseDtype(LoraVariant):
    """PEFT's LoRA of a linear layer, of which it is to cast no inputs."""

    def __init__(self) -> None:
        self.cast: tuple[Tensor, Tensor] | None = None  # A and scaling B, while `CastOnce` is in force

    # PEFT's own is static, and called on the object all the same; this one reads it.
    def forward(  # type: ignore[override]
        self, module: Any, active_adapter: str, x: Tensor, result: Tensor, **kwargs: Any
    ) -> Tensor:
        """x [..., in]; result [..., out] of the layers before; what the layer gives with this adapter."""
        down, up = self.cast or (
            module.lora_A[active_adapter].weight.to(x.dtype),
            (module.scaling[active_adapter] * module.lora_B[active_adapter].weight).to(x.dtype),
        )
        return torch.addmm(result.flatten(0, -2), F.linear(x, down).flatten(0, -2), up.T).view(result.shape)

    @staticmethod
    def merge_safe(module: Any, active_adapter: str, orig_weight: Tensor) -> Tensor:
        return orig_weight + module.get_delta_weight(active_adapter)


def compute_in_base_dtype(adapter: Adapter) -> None:
    """For a UNet in half precision whose layers carry no LoRA but ours, before or after."""
    if adapter.unet.dtype == torch.float32 or adapter.spec.dora:
        return
    layers = [adapter.unet.get_submodule(path) for path in adapter.spec.lora]
    for layer in layers:
        if set(layer.lora_A) == {ADAPTER_NAME}:  # another's may rely on the cast
            layer.lora_variant[ADAPTER_NAME] = InBaseDtype()
            layer.cast_input_dtype_enabled = False


class CastOnce:
    """A training pass for which all weights of `compute_in_base_dtype` are cast together.

    Layer by layer it is a dozen small kernels for each of SDXL's 560 projections, more than a quarter of all that a
    step launches. Values and gradients are the same.
    """

    def __init__(self, adapter: Adapter) -> None:
        layers = [adapter.unet.get_submodule(path) for path in adapter.spec.lora]
        self._layers = [
            layer for layer in layers if isinstance(layer.lora_variant.get(ADAPTER_NAME), InBaseDtype)
        ]
        self._dtype = adapter.unet.dtype

    @contextlib.contextmanager
    def of_a_pass(self) -> Iterator[None]:
        """Forward and backward of one loss; the gradients are added to the weights' own at the end."""
        if not self._layers:
            yield
            return
        downs = [layer.lora_A[ADAPTER_NAME].weight for layer in self._layers]
        ups = [layer.lora_B[ADAPTER_NAME].weight for layer in self._layers]
        scales = [float(layer.scaling[ADAPTER_NAME]) for layer in self._layers]
        with torch.no_grad():
            weights = [*downs, *torch._foreach_mul(ups, scales)]
            cast = [torch.empty_like(weight, dtype=self._dtype) for weight in weights]
            torch._foreach_copy_(cast, weights)
        for each in cast:
            each.requires_grad_()
        variants = [layer.lora_variant[ADAPTER_NAME] for layer in self._layers]
        for variant, down, up in zip(variants, cast[: len(downs)], cast[len(downs) :], strict=True):
            variant.cast = down, up
        try:
            yield
        finally:
            for variant in variants:
                variant.cast = None
        _add_gradients([*downs, *ups], cast, [1.0] * len(downs) + scales)


@torch.no_grad()
def _add_gradients(weights: list[Any], cast: list[Tensor], scales: list[float]) -> None:
    """To each float32 weight the gradient of its cast, times its scale."""
    met = [
        (weight, each.grad, scale)
        for weight, each, scale in zip(weights, cast, scales, strict=True)
        if each.grad is not None
    ]
    if not met:
        return
    grads = [torch.empty_like(weight) for weight, _, _ in met]
    torch._foreach_copy_(grads, [grad for _, grad, _ in met])
    torch._foreach_mul_(grads, [scale for _, _, scale in met])
    there = [(weight.grad, grad) for (weight, _, _), grad in zip(met, grads, strict=True)]
    if all(own is None for own, _ in there):
        for (weight, _, _), grad in zip(met, grads, strict=True):
            weight.grad = grad
    else:
        torch._foreach_add_([own for own, _ in there], [grad for _, grad in there])
