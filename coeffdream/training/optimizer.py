"""Adam over the adapter's parameters, and its state as named tensors instead of a pickle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from coeffdream.adapters.install import Adapter
from coeffdream.backbones.replay import replays
from coeffdream.config import TrainConfig
from coeffdream.records.tensors import TensorFile

MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def new_optimizer(adapter: Adapter, config: TrainConfig) -> torch.optim.Adam:
    """The paper's Adam, with a group for the method's weights and one for alpha; `full_lr`: see training/rates.py.

    On a card that replays, rates and step counts lie there too, where a recording reads them.
    """
    groups = []
    for parameters, rate in ((adapter.weights, config.lr), (adapter.alpha, config.alpha_lr)):
        if parameters:
            group: dict[str, Any] = {"params": list(parameters.values()), "lr": rate, "full_lr": rate}
            groups.append(group)
    device = next(iter(adapter.trainable.values())).device
    if not replays(device):
        return torch.optim.Adam(groups)
    for group in groups:
        group["lr"] = torch.tensor(group["full_lr"], device=device)
    return torch.optim.Adam(groups, fused=True, capturable=True)


def optimizer_tensors(optimizer: torch.optim.Optimizer, adapter: Adapter) -> dict[str, Tensor]:
    """Adam's moments and step counts, float32 on the CPU, keyed `<parameter>|<moment>`."""
    tensors = {}
    for name, parameter in adapter.trainable.items():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{name}|{key}"] = value.detach().cpu().contiguous()
    return tensors


def restore_optimizer(
    optimizer: torch.optim.Optimizer, adapter: Adapter, file: TensorFile, steps: range
) -> None:
    """The reverse of `optimizer_tensors`; no tensor is read before all names and shapes fit.

    `steps`: how many steps Adam may have counted. Raises ValueError for moments that cannot be.
    """
    parameters = adapter.trainable
    shapes = {
        f"{name}|{moment}": () if moment == "step" else tuple(parameter.shape)
        for name, parameter in parameters.items()
        for moment in MOMENTS
    }
    # Under loss scaling every step so far may have been left out; then Adam has no state yet.
    if not file.entries and 0 in steps:
        return
    for key in [*shapes, *file.shapes]:
        if key not in file.shapes or key not in shapes:
            raise ValueError(f"{key:.120} is {'missing' if key in shapes else 'not part of this optimizer'}")
        if file.shapes[key] != shapes[key] or file.dtypes[key] != "F32":
            raise ValueError(
                f"{key} is {file.dtypes[key]} {list(file.shapes[key])} where F32 {list(shapes[key])} is needed"
            )
    for key, array in file.read():
        value = torch.from_numpy(array)
        name, moment = key.rsplit("|", 1)
        if moment == "step" and value.item() not in steps:
            raise ValueError(f"{key} is {value.item():g}")
        if fault := moment_fault(key, value):
            raise ValueError(fault)
        counts = moment == "step" and not optimizer.defaults["capturable"]  # which Adam keeps on the CPU
        place = torch.device("cpu") if counts else parameters[name].device
        optimizer.state[parameters[name]][moment] = value.to(place, copy=True)


def moment_fault(key: str, value: Tensor) -> str | None:
    """What makes one of Adam's moments impossible, or None."""
    if not torch.isfinite(value).all():
        return f"{key} holds values that are not finite"
    return f"{key} is negative" if key.endswith("|exp_avg_sq") and (value < 0).any() else None


def gradient_norms(*groups: Mapping[str, torch.nn.Parameter]) -> Tensor:
    """L2 norm over all gradients of each group; 0 where there are none."""
    gradients = [[p.grad for p in group.values() if p.grad is not None] for group in groups]
    device = next((own[0].device for own in gradients if own), None)
    nothing = torch.zeros((), device=device)
    return torch.stack([torch.nn.utils.get_total_norm(own) if own else nothing for own in gradients])
