"""Training and drawing beside a plain diffusers + PEFT loop: same base, shapes, precision, steps and batch, in turn.

Every round sets a contender up on the one UNet there is, runs it and takes it out again, A B C A B C ..., so that
whatever else the machine does falls on all alike. Ratios are those of medians.
"""

from __future__ import annotations

import dataclasses
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from coeffdream.bench import peer
from coeffdream.bench.measuring import peak_of, synchronised
from coeffdream.bench.subject import Subject
from coeffdream.config import Method, TrainConfig
from coeffdream.progress import Progress, silent, unheard

PEER = "diffusers + PEFT, lora"
METHODS: tuple[Method, ...] = ("lora", "coeff-lora")


@dataclass(frozen=True)
class Contender:
    """seconds: of each step, or of each picture. peak: bytes of the UNet's weights and all that was added to them."""

    name: str
    seconds: list[float] = field(default_factory=list)
    peak: int | None = None
    time_to_peer: float | None = None
    peak_to_peer: float | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


@dataclass(frozen=True)
class Comparison:
    work: str
    base: str
    device: str
    dtype: str
    resolution: int
    batch: int
    steps: int
    rounds: int
    torch: str
    threads: int
    contenders: list[Contender]


def compare_training(subject: Subject, config: TrainConfig, rounds: int, progress: Progress) -> Comparison:
    """Seconds of an optimizer step; `config.steps` of them a round, after those of `_untimed`."""
    ways: dict[str, Callable[[int], list[float]]] = {PEER: partial(_peer_training, subject, config)}
    for method in METHODS:
        ways[f"coeffdream, {method}"] = partial(
            _own_training, subject, dataclasses.replace(config, method=method)
        )
    return _compare("train", subject, ways, config, rounds, progress)


def compare_drawing(
    subject: Subject, config: TrainConfig, steps: int, guidance: float, rounds: int, progress: Progress
) -> Comparison:
    """Seconds of a picture, drawn in batches of `config.batch_size` with `steps` sampling steps."""
    config = dataclasses.replace(config, steps=steps)
    ways: dict[str, Callable[[int], list[float]]] = {PEER: partial(_peer_drawing, subject, config, guidance)}
    for method in METHODS:
        own = dataclasses.replace(config, method=method)
        ways[f"coeffdream, {method}"] = partial(_own_drawing, subject, own, guidance)
    return _compare("generate", subject, ways, config, rounds, progress)


def _compare(
    work: str,
    subject: Subject,
    ways: dict[str, Callable[[int], list[float]]],
    config: TrainConfig,
    rounds: int,
    progress: Progress,
) -> Comparison:
    import torch

    unet = subject.components.unet
    weights = sum(parameter.nbytes for parameter in unet.parameters())
    spent: dict[str, list[float]] = {name: [] for name in ways}
    total, done = len(ways) * (rounds + 1), 0
    peaks = {}
    if unet.device.type == "cuda":  # what is measured and compiled at a first call has memory of its own
        for way in ways.values():
            way(1)
    # The first turn of each is the warm-up, and the one whose memory is counted.
    for turn in range(rounds + 1):
        for name, way in ways.items():
            progress(f"bench {work}", done, total, name)
            if turn == 0:
                peaks[name] = weights + peak_of(partial(way, 1), unet.device)
            else:
                spent[name] += way(config.steps)
            done += 1
    progress(f"bench {work}", total, total, "")
    first = statistics.median(spent[PEER])
    cuda = unet.device.type == "cuda"
    return Comparison(
        work=work,
        base=subject.name,
        device=torch.cuda.get_device_name(unet.device) if cuda else unet.device.type,
        dtype=str(unet.dtype).removeprefix("torch."),
        resolution=subject.resolution,
        batch=config.batch_size,
        steps=config.steps,
        rounds=rounds,
        torch=torch.__version__,
        threads=torch.get_num_threads(),
        contenders=[
            Contender(
                name,
                spent[name],
                peaks[name],
                statistics.median(spent[name]) / first,
                peaks[name] / peaks[PEER],
            )
            for name in ways
        ],
    )


def _ticking(device: Any) -> tuple[list[float], Callable[[int], None]]:
    """Moments, and what to call after each step to get one more."""
    moments: list[float] = []

    def tick(_done: int) -> None:
        with synchronised(device):
            moments.append(time.perf_counter())

    return moments, tick


def _between(moments: list[float], steps: int) -> list[float]:
    """Seconds of the last `steps`."""
    return [after - before for before, after in itertools.pairwise(moments)][-steps:]


def _untimed(device: Any) -> int:
    """Steps before those that are timed: the first allocates, and on a card the second records what follows."""
    return 3 if device.type == "cuda" else 1


def _own_training(subject: Subject, config: TrainConfig, steps: int) -> list[float]:
    import torch

    from coeffdream.adapters.install import install, spec_for
    from coeffdream.adapters.lora import compute_in_base_dtype
    from coeffdream.attention.checkpointing import checkpoint_keeping_attention
    from coeffdream.training.batches import TrainingData
    from coeffdream.training.checkpoint import TrainingState
    from coeffdream.training.loop import run_steps
    from coeffdream.training.optimizer import new_optimizer
    from coeffdream.training.step import NoiseSchedule

    unet = subject.components.unet
    adapter = install(unet, spec_for(config, unet), seed=config.seed)
    compute_in_base_dtype(adapter)
    if config.gradient_checkpointing:
        unet.enable_gradient_checkpointing(checkpoint_keeping_attention)
    scaler = torch.amp.GradScaler(unet.device.type, enabled=unet.dtype == torch.float16)
    state = TrainingState(adapter, new_optimizer(adapter, config), scaler)
    moments, tick = _ticking(unet.device)
    try:
        with tempfile.TemporaryDirectory() as folder:
            run_steps(
                unet,
                state,
                TrainingData(subject.samples, []),
                NoiseSchedule.of(subject.components.scheduler),
                dataclasses.replace(config, steps=steps + _untimed(unet.device)),
                Path(folder) / "train.jsonl",
                after_step=tick,
                progress=silent,
                notice=unheard,
            )
    finally:
        unet.disable_gradient_checkpointing()
        adapter.uninstall()
    return _between(moments, steps)


def _peer_training(subject: Subject, config: TrainConfig, steps: int) -> list[float]:
    unet = subject.components.unet
    parameters = peer.add_lora(unet, config.rank, _modules(unet, config))
    if config.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    moments, tick = _ticking(unet.device)
    try:
        peer.train(
            unet,
            parameters,
            subject.components.scheduler,
            subject.samples,
            steps=steps + _untimed(unet.device),
            batch_size=config.batch_size,
            lr=config.lr,
            after_step=tick,
        )
    finally:
        unet.disable_gradient_checkpointing()
        unet.unload_lora()
    return _between(moments, steps)


def _own_drawing(subject: Subject, config: TrainConfig, guidance: float, steps: int) -> list[float]:
    from coeffdream.adapters.install import install, spec_for
    from coeffdream.adapters.lora import compute_in_base_dtype
    from coeffdream.backbones.replay import replaying
    from coeffdream.backbones.sampling import Sampling, draw

    unet = subject.components.unet
    adapter = install(unet, spec_for(config, unet), seed=config.seed)
    compute_in_base_dtype(adapter)
    _settle(adapter.trainable.values())
    batch = config.batch_size
    told = [subject.samples[place % len(subject.samples)].conditioning for place in range(batch)]
    sampling = Sampling(steps, guidance, subject.resolution)
    moments, tick = _ticking(unet.device)
    try:
        with replaying(subject.components):
            if unet.device.type == "cuda":  # two passes, after which the others are replayed
                draw(subject.components, told, list(range(batch)), dataclasses.replace(sampling, steps=2))
            tick(0)
            draw(subject.components, told, list(range(batch)), sampling)
            tick(1)
    finally:
        adapter.uninstall()
    return [each / batch for each in _between(moments, 1)]


def _peer_drawing(subject: Subject, config: TrainConfig, guidance: float, steps: int) -> list[float]:
    unet = subject.components.unet
    _settle(peer.add_lora(unet, config.rank, _modules(unet, config)))
    batch = config.batch_size
    told = [subject.samples[place % len(subject.samples)].conditioning for place in range(batch)]
    moments, tick = _ticking(unet.device)
    try:
        tick(0)
        peer.draw(subject.components.pipeline, told, steps=steps, guidance=guidance, size=subject.resolution)
        tick(1)
    finally:
        unet.unload_lora()
    return [each / batch for each in _between(moments, 1)]


def _settle(parameters: Any) -> None:
    """Something learned, so that nothing is left out because it is zero."""
    import torch

    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in parameters:
            parameter += 0.01 * torch.randn(parameter.shape, generator=generator).to(parameter.device)


def _modules(unet: Any, config: TrainConfig) -> list[str]:
    from coeffdream.adapters.layers import attention_layers, lora_modules

    return lora_modules(attention_layers(unet), config.lora_targets)
