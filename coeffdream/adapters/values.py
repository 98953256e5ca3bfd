"""What learned values may be: finite numbers, and none beyond any use."""

from __future__ import annotations

import torch
from torch import Tensor

from coeffdream.adapters.install import Adapter

# Half precision ends at 65,504; what is drawn with an adapter multiplies its values.
LARGEST_VALUE = 1e4
# A layer that moved ten times as far as it is long has nothing of the base left in it.
LARGEST_CHANGE = 10.0


@torch.no_grad()
def faults(adapter: Adapter) -> list[str]:
    """Everything that makes an installed adapter unfit to keep or to draw with, one line each.

    A value may be at most 10,000. Norms are Frobenius norms: of alpha' - I at most 10 sqrt(H), of BA and
    of DoRA's magnitude at most 10 times that of W.
    """
    found = [fault for name, value in adapter.trainable.items() if (fault := _value_fault(name, value))]
    if found:
        return found
    for path, processor in adapter.processors.items():
        heads, change = processor.coefficients.heads, processor.coefficients.learned
        found += _norm_fault(f"{path}: alpha' - I", change.norm().item(), heads**0.5, "the identity")
    for path in adapter.spec.lora:
        size = adapter.unet.get_submodule(path).get_base_layer().weight.float().norm().item()
        down, up = (adapter.lora[f"{path}.lora_{part}.weight"].double() for part in "AB")
        # |BA|^2 = tr(A^T B^T B A): of rank by rank matrices, whatever the layer's size.
        change = ((up.T @ up) * (down @ down.T)).sum().clamp(min=0).sqrt()
        found += _norm_fault(f"{path}: BA", change.item(), size, "W")
        if adapter.spec.dora:
            magnitude = adapter.lora[f"{path}.lora_magnitude_vector"].norm().item()
            found += _norm_fault(f"{path}: the magnitude", magnitude, size, "W")
    return found


def _value_fault(name: str, value: Tensor) -> str | None:
    low, high = (each.item() for each in value.aminmax())
    largest = max(abs(low), abs(high))
    if not low - low == high - high == 0:  # NaN and infinity
        return f"{name} holds values that are not finite"
    return f"{name} holds {largest:.3g}, far above any learned value" if largest > LARGEST_VALUE else None


def _norm_fault(what: str, norm: float, size: float, of: str) -> list[str]:
    if norm <= LARGEST_CHANGE * size:
        return []
    return [f"{what} has the norm {norm:.3g}, more than {LARGEST_CHANGE:g} times that of {of} ({size:.3g})"]
