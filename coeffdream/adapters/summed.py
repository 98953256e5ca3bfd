"""Head mixing learned by several runs, in force at once: alpha' = I + sum_k w_k (alpha'_k - I), layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from coeffdream.adapters.install import Adapter, AdapterSpec, install


@torch.no_grad()
def install_sum(unet: Any, weighted: Sequence[tuple[Mapping[str, Tensor], float]]) -> Adapter:
    """Mix the heads of every layer that one of `weighted` mixes.

    weighted: what was learned, alpha' - I [H, H] by module path, and its weight. Added in the order given, which
    alone decides the last bit. Raises AdapterError, AttentionError.
    """
    total: dict[str, Tensor] = {}
    for learned, weight in weighted:
        for path, change in learned.items():
            total[path] = weight * change + total[path] if path in total else weight * change
    adapter = install(unet, AdapterSpec(alpha=tuple(total)))
    for path, alpha in adapter.alpha.items():
        alpha.copy_(total[path])
    return adapter
