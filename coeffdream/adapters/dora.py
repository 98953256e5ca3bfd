"""DoRA (arXiv 2402.09353) as PEFT defines it, without making W + BA to measure its rows.

Shape letters: N tokens, r rank. W [out, in], A [r, in], B [out, r], s the scale of BA; per row o, with w, b its rows:

    |w + s b A|^2 = |w|^2 + 2 s b . (W A^T)_o + s^2 b (A A^T) b^T

|w| never changes; what is left costs as much as r tokens that pass through W.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from peft.tuners.lora.variants import DoraLinearVariant
from peft.utils.integrations import dequantize_module_weight
from torch import Tensor, nn

from coeffdream.attention.autocast import no_autocast


def hasten(layer: Any, adapter: str) -> None:
    """Let a PEFT layer with DoRA compute what it computed in less time. W must stay what it is now."""
    squares = row_norms(dequantize_module_weight(layer.get_base_layer())).square()
    layer.lora_magnitude_vector[adapter].register_buffer("base_squares", squares, persistent=False)
    layer.lora_variant[adapter] = ExactDora()


def row_norms(weight: Tensor) -> Tensor:
    """Norm of each row of W [out, in], float32 whatever its dtype: in bfloat16 rounding alone would change the model."""
    return torch.linalg.norm(weight.float(), dim=1)


@torch.no_grad()
def changed_row_norms(weight: Tensor, squares: Tensor, down: Tensor, up: Tensor, scaling: float) -> Tensor:
    """Norm of each row of W + scaling B A, float32 [out]. squares [out]: |w|^2, of `row_norms`.

    The relative error is float32's own times (|w| / |w + s b A|)^2; with B = 0 there is none, for sqrt(|w|^2) is |w|.
    """
    with no_autocast(weight.device.type):
        down, up = down.float(), up.float()
        change = torch.addmm(
            F.linear(weight.float(), down), up, down @ down.T, beta=2 * scaling, alpha=scaling**2
        )
        return torch.linalg.vecdot(up, change).add_(squares).clamp_(min=0).sqrt_()


class ExactDora(DoraLinearVariant):
    """PEFT's DoRA of a linear layer in all but the way to its norms. Gradient too: the norm is a constant to it."""

    @staticmethod
    def forward(module: Any, active_adapter: str, x: Tensor, result: Tensor, **kwargs: Any) -> Tensor:
        """x [..., in]; result [..., out] of the layers before; what the layer gives with this adapter."""
        down, up = module.lora_A[active_adapter], module.lora_B[active_adapter].weight
        scaling, dropout = module.scaling[active_adapter], module.lora_dropout[active_adapter]
        magnitude = module.lora_magnitude_vector[active_adapter]
        base_layer = module.get_base_layer()
        weight, bias = dequantize_module_weight(base_layer), base_layer.bias
        norms = changed_row_norms(weight, magnitude.base_squares, down.weight, up, scaling)
        scale = magnitude.weight / norms
        up = (scaling * scale)[:, None] * up  # through B, which is small
        if isinstance(dropout, nn.Identity) or not module.training:
            # A bias is not scaled. Written so that a scale of 1 leaves result as it was, to the last bit.
            shift = None if bias is None else bias * (1 - scale)
            return torch.addcmul(F.linear(down(x), up, shift), result, scale)
        x = dropout(x)
        return torch.addcmul(result + F.linear(down(x), up), F.linear(x, weight.to(x.dtype)), scale - 1)
