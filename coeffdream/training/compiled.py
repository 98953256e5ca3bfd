"""--compile of a training: which way its passes are timed, and where compiled blocks run as they are written.

Sample pictures and validation do: other shapes and no gradients would each be compiled, too.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import torch

from coeffdream.adapters.install import Adapter
from coeffdream.adapters.lora import CastOnce
from coeffdream.backbones.compiled import settle
from coeffdream.config import Compile, TrainConfig
from coeffdream.progress import Progress
from coeffdream.training.batches import Batches, TrainingData
from coeffdream.training.passes import Passes
from coeffdream.training.step import NoiseSchedule


def settle_compile(
    unet: Any,
    adapter: Adapter,
    data: TrainingData,
    schedule: NoiseSchedule,
    config: TrainConfig,
    progress: Progress,
    remark: Callable[[str], None],
) -> Compile:
    """Whether the blocks of `unet` are compiled from here on, "on" or "off".

    "auto" times forward, loss and backward of the first batches both ways. No weight and no random draw of the training
    changes by it. Raises ConfigError where "on" cannot be.
    """

    def seconds(way: str, count: int) -> list[float]:
        return _seconds(
            unet, adapter, data, schedule, config, count, lambda done: progress(way, done, count, "")
        )

    return "on" if settle(unet, config.compile, seconds, "training", remark) else "off"


def as_written(config: TrainConfig) -> contextlib.AbstractContextManager[Any]:
    """In the block, compiled parts run as they are written."""
    return torch.compiler.set_stance("force_eager") if config.compile == "on" else contextlib.nullcontext()


def _seconds(
    unet: Any,
    adapter: Adapter,
    data: TrainingData,
    schedule: NoiseSchedule,
    config: TrainConfig,
    count: int,
    tell: Callable[[int], None],
) -> list[float]:
    """Of each of `count` passes; gradients are thrown away."""
    batches = Batches(adapter, data, schedule, config)
    scaler = torch.amp.GradScaler(unet.device.type, enabled=unet.dtype == torch.float16)
    passes = Passes(unet, CastOnce(adapter), scaler, config)
    spent = []
    training = unet.training
    unet.train()
    try:
        for number in range(count):
            adapter.seed_method(config.seed, 0)
            draws, masks, _ = batches.take(number * config.grad_accum)
            adapter.set_masks(masks)
            began = time.perf_counter()
            passes(draws)  # its losses are on the CPU, so a card has ended, too
            spent.append(time.perf_counter() - began)
            tell(number + 1)
    finally:
        passes.release()
        unet.train(training)
        for parameter in adapter.trainable.values():
            parameter.grad = None
    return spent
