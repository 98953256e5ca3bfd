"""Adam over the adapter's parameters, and its state as named tensors instead of a pickle."""

from __future__ import annotations

import torch
from torch import Tensor

from coeffdream.adapters.install import Adapter
from coeffdream.config import TrainConfig


def new_optimizer(adapter: Adapter, config: TrainConfig) -> torch.optim.Adam:
    """The paper's Adam, with a group for the low-rank weights and one for alpha."""
    groups = [
        {"params": list(adapter.lora.values()), "lr": config.lr},
        {"params": list(adapter.alpha.values()), "lr": config.alpha_lr},
    ]
    return torch.optim.Adam([group for group in groups if group["params"]])


def optimizer_tensors(optimizer: torch.optim.Optimizer, adapter: Adapter) -> dict[str, Tensor]:
    """Adam's moments and step counts, keyed `<parameter>|<moment>`."""
    tensors = {}
    for name, parameter in adapter.trainable.items():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{name}|{key}"] = value.detach().cpu().contiguous()
    return tensors


def restore_optimizer(optimizer: torch.optim.Optimizer, adapter: Adapter, tensors: dict[str, Tensor]) -> None:
    """The reverse of `optimizer_tensors`. Raises KeyError, ValueError for moments that do not fit."""
    parameters = adapter.trainable
    complete = {"step", "exp_avg", "exp_avg_sq"}
    names = {key.rsplit("|", 1)[0] for key in tensors}
    if lacking := [f"{name}|{key}" for name in names for key in complete if f"{name}|{key}" not in tensors]:
        raise ValueError(f"{lacking[0]} is missing")
    for key, value in tensors.items():
        name, moment = key.rsplit("|", 1)
        parameter = parameters[name]
        if moment != "step" and value.shape != parameter.shape:
            raise ValueError(f"{key} has shape {list(value.shape)} where {list(parameter.shape)} is needed")
        # Adam keeps its step counts on the CPU.
        optimizer.state[parameter][moment] = (
            value.clone() if moment == "step" else value.to(parameter.device, copy=True)
        )


def gradient_norm(parameters: list[torch.nn.Parameter]) -> float:
    """L2 norm over all gradients; 0 when there are none."""
    gradients = [p.grad.float() for p in parameters if p.grad is not None]
    return (
        float(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients])))
        if gradients
        else 0.0
    )
