"""How the learning rates change over the steps: each a function of the step alone, so nothing of it is saved."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from coeffdream.config import TrainConfig


def rate_factor(step: int, config: TrainConfig) -> float:
    """What the learning rates are multiplied by once `step` steps are done; as diffusers' get_scheduler."""
    warmup = config.lr_warmup
    if step < warmup:
        return step / warmup
    if config.lr_schedule == "linear":
        return (config.steps - step) / (config.steps - warmup)
    if config.lr_schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (config.steps - warmup)))
    return 1.0


def set_rates(optimizer: torch.optim.Optimizer, factor: float | Tensor) -> None:
    """Give every group of `new_optimizer` its own rate, times `factor`."""
    for group in optimizer.param_groups:
        rate = group["full_lr"] * factor
        if isinstance(group["lr"], Tensor):
            group["lr"].copy_(torch.as_tensor(rate))
        else:
            group["lr"] = rate
