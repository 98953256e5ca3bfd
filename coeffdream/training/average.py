"""An exponential moving average of the adapter, by diffusers' EMAModel: what is drawn with, while training goes on.

A checkpoint's adapter files then hold the average, and LIVE_FILE the parameters that training goes on from.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from coeffdream.adapters.install import Adapter
from coeffdream.config import TrainConfig
from coeffdream.records.tensors import TensorFile

LIVE_FILE = "live.safetensors"


def new_average(adapter: Adapter, config: TrainConfig) -> Any:
    """An EMAModel of the adapter's parameters, or None without --ema.

    Its decay rises from 0 to --ema as (1 + step) / (10 + step), so that the untrained start weighs nothing.
    """
    if config.ema is None:
        return None
    from diffusers.training_utils import EMAModel

    return EMAModel(adapter.trainable.values(), decay=config.ema)


@contextlib.contextmanager
def averaged(adapter: Adapter, average: Any) -> Iterator[None]:
    """Put the average, if there is one, in place of the parameters while the block runs."""
    if average is None:
        yield
        return
    parameters = list(adapter.trainable.values())
    average.store(parameters)
    average.copy_to(parameters)
    try:
        yield
    finally:
        average.restore(parameters)


def live_tensors(adapter: Adapter) -> dict[str, Tensor]:
    """The parameters as training has them, float32 on the CPU."""
    return {
        name: parameter.detach().cpu().contiguous().clone() for name, parameter in adapter.trainable.items()
    }


@torch.no_grad()
def restore_live(adapter: Adapter, average: Any, step: int, file: TensorFile) -> None:
    """Take the adapter's present values for the average after `step` steps, and its parameters from `file`.

    Raises ValueError for tensors that are not the adapter's.
    """
    parameters = adapter.trainable
    shapes = {name: tuple(parameter.shape) for name, parameter in parameters.items()}
    if file.shapes != shapes or set(file.dtypes.values()) - {"F32"}:
        raise ValueError(f"{LIVE_FILE} does not hold the parameters of this adapter")
    average.shadow_params = [parameter.detach().clone() for parameter in parameters.values()]
    average.optimization_step = step
    for name, array in file.read():
        value = torch.from_numpy(array)
        if not torch.isfinite(value).all():
            raise ValueError(f"{name} in {LIVE_FILE} holds values that are not finite")
        parameters[name].copy_(value)
