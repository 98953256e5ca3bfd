"""The cheapest way of a training that fits into so much memory.

Of what is learned nothing changes but the base's precision: not the resolution, not the method, not how many
photos make a step.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, replace

from coeffdream.backbones.base import Base
from coeffdream.backbones.footprint import NOT_COUNTED, UNET, Phase
from coeffdream.config import TrainConfig, train_option
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
    for precise in _precisions(config, typed):
        forecast = Forecast(base, precise)
        if chosen := _chosen(precise, forecast, typed, budget):
            phases = forecast.phases(chosen)
            return Fitted(chosen, forecast, phases, _costs(config, chosen, base, phases, typed))
    *_, frugal = _pictures(precise, typed)
    *_, frugal = _steps(frugal, typed)
    largest = max(forecast.phases(frugal), key=lambda each: each.total)
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


def _precisions(config: TrainConfig, typed: Container[str]) -> Iterator[TrainConfig]:
    yield config
    if config.precision == "fp32" and "precision" not in typed:
        yield replace(config, precision="bf16")


def _pictures(config: TrainConfig, typed: Container[str]) -> Iterator[TrainConfig]:
    """From the cheapest to what takes least: what is exact before what is not, no pictures at last."""
    on_cpu = config.device.startswith("cpu")
    offloads = [False] if on_cpu else _either(config.model_offload)
    cadences = [config.sample_every, *([0] if config.sample_every and "sample_every" not in typed else [])]
    for sample_every in cadences:
        for tiling in _either(config.vae_tiling):
            for offload in offloads:
                yield replace(config, model_offload=offload, vae_tiling=tiling, sample_every=sample_every)


def _either(asked: bool | None) -> list[bool]:
    return [False, True] if asked is None else [asked]


def _steps(config: TrainConfig, typed: Container[str]) -> Iterator[TrainConfig]:
    """A split batch is the same arithmetic in more passes; checkpointing is a pass more for every photo."""
    fixed = "gradient_checkpointing" in typed
    for checkpointing in [config.gradient_checkpointing] if fixed else [False, True]:
        own = replace(config, gradient_checkpointing=checkpointing)
        yield own
        if config.batch_size > 1:
            yield replace(own, batch_size=1, grad_accum=config.batch_size * config.grad_accum)


def _costs(
    before: TrainConfig, chosen: TrainConfig, base: Base, phases: list[Phase], typed: Container[str]
) -> dict[str, str]:
    """What was turned up or down, as on the command line, with its price."""
    unet = next(each.held[UNET] for each in phases if UNET in each.held) / GIB
    runs = passes(chosen, base.settings.sampling_steps)
    costs = {}
    if chosen.precision != before.precision:
        costs["precision"] = "the frozen base is rounded, and a CPU may be slower in it"
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
    if chosen.model_offload:
        pictures = runs.pictures + (chosen.prior_images if chosen.prior else 0)
        costs["model_offload"] = (
            f"the UNet's {unet:.1f} GB leave the device and come back for each of {pictures:,} pictures"
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
