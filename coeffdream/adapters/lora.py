"""LoRA's products in the dtype of the base, beside weights that stay float32.

PEFT multiplies in the adapter's own dtype: in float32 beside a base in half precision, for which everything that
passes is cast and lies in memory twice. Mixed precision multiplies in half precision, sums in float32 and rounds
what comes out, as the base's own layers do; so does this.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from peft.tuners.lora.layer import LoraVariant
from torch import Tensor

from coeffdream.adapters.install import Adapter
from coeffdream.adapters.peft_types import ADAPTER_NAME


class InBaseDtype(LoraVariant):
    """PEFT's LoRA of a linear layer, of which it is to cast no inputs."""

    @staticmethod
    def forward(module: Any, active_adapter: str, x: Tensor, result: Tensor, **kwargs: Any) -> Tensor:
        """x [..., in]; result [..., out] of the layers before; what the layer gives with this adapter."""
        inner = F.linear(x, module.lora_A[active_adapter].weight.to(x.dtype))
        up = (module.scaling[active_adapter] * module.lora_B[active_adapter].weight).to(x.dtype)
        return torch.addmm(result.flatten(0, -2), inner.flatten(0, -2), up.T).view(result.shape)


def compute_in_base_dtype(adapter: Adapter) -> None:
    """For a UNet in half precision whose layers carry no LoRA but ours, before or after."""
    if adapter.unet.dtype == torch.float32 or adapter.spec.dora:
        return
    layers = [adapter.unet.get_submodule(path) for path in adapter.spec.lora]
    for layer in layers:
        if set(layer.lora_A) == {ADAPTER_NAME}:  # another's may rely on the cast
            layer.lora_variant[ADAPTER_NAME] = InBaseDtype()
            layer.cast_input_dtype_enabled = False
