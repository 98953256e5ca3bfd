"""The cheapest way of a training that fits into so much memory.

Of what is learned nothing changes but the base's precision: not the resolution, not the method, not how many
photos make a step.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, replace

from coeffdream.backbones.base import Base
from coeffdream.backbones.footprint import NOT_COUNTED, UNET, Phase
from coeffdream.config import Offload, TrainConfig, train_option
from coeffdream.errors import ConfigError
from coeffdream.training.forecast import Forecast, passes
from coeffdream.training.samples import TEMPLATES

GIB = 1 << 30


@dataclass(frozen=True)
class Fitted:
    """A training that fits, what forecast it, its phases, and the options that were chosen, each with its price."""

    config: TrainConfig
    forecast: Forecast
    phases: list[Phase]
    costs: dict[str, str]


def fit(config: TrainConfig, base: Base, gigabytes: float, typed: Container[str]) -> Fitted:
    """Choose for a settled config. typed: the options that a person chose, which stay; a batch may still be split.

    gigabytes: of the whole device, as cards are sold (GiB). Raises ConfigError with the least that it could be.
    """
    budget = gigabytes * GIB - NOT_COUNTED
    least = []
    for held in _held(config, typed):
        forecast = Forecast(base, held)
        if chosen := _chosen(held, forecast, typed, budget):
            phases = forecast.phases(chosen)
            costs = _costs(config, chosen, base, phases, forecast.away, typed)
            return Fitted(chosen, forecast, phases, costs)
        *_, frugal = _pictures(held, typed)
        *_, frugal = _steps(frugal, typed)
        least.append(max(forecast.phases(frugal), key=lambda each: each.total))
    largest = min(least, key=lambda each: each.total)
    raise ConfigError(
        f"--fit {gigabytes:g}: this training takes {(largest.total + NOT_COUNTED) / GIB:.1f} GB at the least (in the phase "
        f"{largest.name!r}, with {NOT_COUNTED / GIB:g} GB for what no forecast counts); a smaller --resolution takes "
        "less, and is yours to choose"
    )


def _chosen(
    config: TrainConfig, forecast: Forecast, typed: Container[str], budget: float
) -> TrainConfig | None:
    drawing = _first_that_fits(_pictures(config, typed), forecast.before_steps, budget)
    return drawing and _first_that_fits(_steps(drawing, typed), lambda each: [forecast.step(each)], budget)


def _first_that_fits(
    configs: Iterable[TrainConfig], phases: Callable[[TrainConfig], list[Phase]], budget: float
) -> TrainConfig | None:
    return next((each for each in configs if all(one.total <= budget for one in phases(each))), None)


def _held(config: TrainConfig, typed: Container[str]) -> Iterator[TrainConfig]:
    """How the base is kept, from the cheapest on: whole, rounded, or most of it off the device, which is exact and slow."""
    ways = [config]
    if config.precision == "fp32" and "precision" not in typed:
        ways.append(replace(config, precision="bf16"))
    last = ways[-1]
    if config.base_precision == "auto" and "base_precision" not in typed:
        ways.append(replace(last, base_precision="int8"))
    if config.offload == "auto" and not config.device.startswith("cpu"):
        ways.append(replace(last, offload="blocks"))
    return (each for each in ways if not each.problems())  # not every method learns beside such weights


def _pictures(config: TrainConfig, typed: Container[str]) -> Iterator[TrainConfig]:
    """From the cheapest to what takes least: what is exact before what is not, no pictures at last."""
    on_cpu = config.device.startswith("cpu")
    offloads: list[Offload] = [config.offload]
    if config.offload == "auto":
        offloads = ["none"] if on_cpu else ["none", "model"]
    cadences = [config.sample_every, *([0] if config.sample_every and "sample_every" not in typed else [])]
    for sample_every in cadences:
        for tiling in [False, True] if config.vae_tiling is None else [config.vae_tiling]:
            for offload in offloads:
                yield replace(config, offload=offload, vae_tiling=tiling, sample_every=sample_every)


def _steps(config: TrainConfig, typed: Container[str]) -> Iterator[TrainConfig]:
    """A split batch is the same arithmetic in more passes; checkpointing is a pass more for every photo."""
    fixed = "gradient_checkpointing" in typed
    for checkpointing in [config.gradient_checkpointing] if fixed else [False, True]:
        own = replace(config, gradient_checkpointing=checkpointing)
        yield own
        if config.batch_size > 1:
            yield replace(own, batch_size=1, grad_accum=config.batch_size * config.grad_accum)


def _costs(
    before: TrainConfig,
    chosen: TrainConfig,
    base: Base,
    phases: list[Phase],
    away: int,
    typed: Container[str],
) -> dict[str, str]:
    """What was turned up or down, as on the command line, with its price. away: bytes that are off the device."""
    unet = next(each.held[UNET] for each in phases if UNET in each.held) / GIB
    runs = passes(chosen, base.settings.sampling_steps)
    costs = {}
    if chosen.precision != before.precision:
        costs["precision"] = "the frozen base is rounded, and a CPU may be slower in it"
    if chosen.base_precision != before.base_precision:
        costs["base_precision"] = (
            "the weights of the UNet's blocks are rounded to 8 bits, a scale for each row"
        )
    if chosen.gradient_checkpointing:
        plain = passes(replace(chosen, gradient_checkpointing=False), base.settings.sampling_steps)
        costs["gradient_checkpointing"] = (
            f"{runs.steps:,} passes of the UNet in training instead of {plain.steps:,}"
        )
    elif before.gradient_checkpointing:
        dear = passes(before, base.settings.sampling_steps)
        costs["gradient_checkpointing"] = (
            f"saves {dear.steps - runs.steps:,} of {dear.steps:,} passes of the UNet"
        )
    if chosen.batch_size != before.batch_size:
        costs["batch_size"] = (
            f"the same step in {chosen.grad_accum // before.grad_accum} passes one after another"
        )
        costs["grad_accum"] = "holds what --batch-size held"
    if chosen.offload == "model":
        pictures = runs.pictures + (chosen.prior_images if chosen.prior else 0)
        costs["offload"] = (
            f"the UNet's {unet:.1f} GB leave the device and come back for each of {pictures:,} pictures"
        )
    if chosen.offload == "blocks":
        costs["offload"] = (
            f"{away / GIB:.1f} GB of the UNet's weights come to the device in each of its "
            f"{runs.steps + runs.samples:,} passes; nothing that is computed changes"
        )
    if chosen.vae_tiling:
        costs["vae_tiling"] = (
            "pictures of the training are decoded in tiles, which changes their pixels a little"
        )
    if before.sample_every and not chosen.sample_every:
        costs["sample_every"] = (
            f"no pictures along the way ({len(TEMPLATES)} every {before.sample_every} steps)"
        )
    kept = {name for name in costs if name in typed} - {
        "batch_size",
        "grad_accum",
    }  # a batch may be split all the same
    return {
        " ".join(train_option(name, getattr(chosen, name))): price
        for name, price in costs.items()
        if name not in kept
    }
