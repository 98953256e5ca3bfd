"""A layer with what was learned in its weight: one linear layer that computes what the layer and its adapter do."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import torch
from torch import nn

from coeffdream.adapters.install import Adapter
from coeffdream.diffusion.noise import generator_for
from coeffdream.errors import AdapterError

# Of the largest output, in float32; both sum in orders of their own.
WITHIN = 1e-4


@torch.no_grad()
def merged(adapter: Adapter, path: str) -> nn.Linear:
    """The adapted layer at `path`, W + BA of a LoRA, as a plain one: a copy in float32, by PEFT's own merge, at the scale
    that is set.

    Raises AdapterError for a method that PEFT cannot merge, or merges into something else than it computes.
    """
    method = adapter.spec.method
    layer: Any = copy.deepcopy(adapter.unet.get_submodule(path)).float().eval()
    layer._forward_hooks.clear()  # what adapters of other tools add
    plain: nn.Linear = layer.get_base_layer()
    drawn = torch.randn(8, plain.in_features, generator=generator_for(0, "merged"))
    drawn = drawn.to(plain.weight.device)
    try:
        wanted = layer(drawn)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what it leaves out; that is seen below
            layer.merge(safe_merge=True)
    # Each layer of PEFT's says in its own way that it cannot.
    except (ValueError, NotImplementedError, RuntimeError) as error:
        raise AdapterError(f"PEFT cannot merge {method} ({error}), so it has no other form") from None
    if layer.get_base_layer() is not plain:
        raise AdapterError(f"{method} puts layers of its own in the base's place, which is no merging")
    if (plain(drawn) - wanted).abs().max() > WITHIN * wanted.abs().max():
        raise AdapterError(
            f"PEFT merges {method} into something else than it computes, so it has no other form"
        )
    return plain.requires_grad_(False)
