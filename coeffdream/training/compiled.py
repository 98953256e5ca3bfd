"""torch.compile over the repeated blocks of a UNet: tried before the first step, and kept where it is faster.

One block is compiled once for all its repetitions, whole, so that a part that cannot be compiled is an error and not a
slower way in silence. Sample pictures and validation run as written: other shapes and no gradients would each be
compiled, too.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from coeffdream.adapters.install import Adapter
from coeffdream.adapters.lora import CastOnce
from coeffdream.backbones.processes import of_the_first
from coeffdream.config import Compile, TrainConfig
from coeffdream.errors import ConfigError, out_of_memory
from coeffdream.progress import Progress
from coeffdream.training.batches import Batches, TrainingData
from coeffdream.training.passes import Passes
from coeffdream.training.step import NoiseSchedule

UNTIMED = 3  # the first compiles and allocates, and on a card the second records what follows
TIMED = 10


def settle_compile(
    unet: Any,
    adapter: Adapter,
    data: TrainingData,
    schedule: NoiseSchedule,
    config: TrainConfig,
    progress: Progress,
    remark: Callable[[str], None],
) -> Compile:
    """Whether the blocks of `unet` are compiled from here on, "on" or "off"; they are as they were for "off".

    "auto" times forward, loss and backward of the first batches both ways, and `remark` hears what it found. No weight
    and no random draw of the training changes by it. Raises ConfigError where "on" cannot be.
    """
    if config.compile == "off":
        return "off"

    def seconds(way: str, count: int) -> list[float]:
        return _seconds(
            unet, adapter, data, schedule, config, count, lambda done: progress(way, done, count, "")
        )

    measured = config.compile == "auto"
    plain = seconds("timing as written", UNTIMED + TIMED) if measured else []
    try:
        unet.compile_repeated_blocks(fullgraph=True)
        compiled = seconds("compiling", UNTIMED + TIMED if measured else 1)
    # Of dynamo, of inductor, of the system's compiler: whatever it is, these blocks cannot be compiled here.
    except Exception as error:
        if out_of_memory(error):
            raise
        _take_back(unet)
        why = f"the UNet's blocks cannot be compiled here ({_first_line(error)})"
        if not measured:
            raise ConfigError(f"--compile on: {why}; leave it out") from error
        remark(f"--compile auto: {why}; training goes on without")
        return "off"
    if not measured:
        return "on"
    before, after = (statistics.median(each[UNTIMED:]) for each in (plain, compiled))
    # One word for all processes of a run.
    faster = bool(of_the_first(torch.tensor([after < before])).item())
    remark(
        f"--compile auto: a pass takes {after * 1000:.0f} ms compiled, {before * 1000:.0f} ms as written; "
        f"training goes on {'compiled' if faster else 'as written'}"
    )
    if not faster:
        _take_back(unet)
    return "on" if faster else "off"


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


def _take_back(unet: torch.nn.Module) -> None:
    # torch has no word for the opposite of Module.compile.
    for module in unet.modules():
        module._compiled_call_impl = None


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[
        :200
    ]
