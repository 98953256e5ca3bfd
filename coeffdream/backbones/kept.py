"""A base that a worker of a study loads once, and gives to each of its commands as if it were loaded anew."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from coeffdream import warm
from coeffdream.backbones.base import Base
from coeffdream.backbones.load import Components, load_components
from coeffdream.backbones.variants import STEMS
from coeffdream.config import BasePrecision


def base_components(
    base: Base,
    *,
    device: torch.device,
    dtype: torch.dtype,
    unet_device: torch.device,
    base_precision: BasePrecision = "auto",
) -> Components:
    """As `load_components`; in a process that keeps bases the weights are read from disk and checked once.

    One in another base precision is not kept: what it is made into belongs to a device.
    """
    if not warm.keeping() or base_precision != "auto":
        return load_components(
            base, device=device, dtype=dtype, unet_device=unet_device, base_precision=base_precision
        )
    kept = warm.kept(
        ("base", repr(base), dtype),
        lambda: load_components(base, device=torch.device("cpu"), dtype=dtype),
    )
    parts = {name: view(getattr(kept, name)) for name in STEMS}
    fresh = replace(kept, **parts, scheduler=copy.deepcopy(kept.scheduler), device=device)
    fresh.move([name for name in STEMS if name != "unet"], device)
    fresh.move(["unet"], unet_device)
    return fresh


def view(module: nn.Module) -> Any:
    """Modules of their own, to be adapted, moved and thrown away, around the same frozen weights."""
    memo: dict[int, Any] = {}
    for tensor in module.parameters():
        # Of its own, so that moving it leaves the one that is kept where it is.
        if type(tensor) is nn.Parameter:
            memo[id(tensor)] = nn.Parameter(tensor.data, requires_grad=False)
    return copy.deepcopy(module, memo)
