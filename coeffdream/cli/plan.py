"""What a training would take, before anything is loaded: `train --dry-run` and `train --fit`."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from coeffdream.cli.bases import say_what_it_is
from coeffdream.cli.terminal import doing, loading, say, show_json
from coeffdream.config import TrainConfig, train_option
from coeffdream.errors import ConfigError
from coeffdream.methods import takes_loras_place
from coeffdream.resolve import Resolved

if TYPE_CHECKING:
    from coeffdream.backbones.base import Base
    from coeffdream.backbones.footprint import Phase
    from coeffdream.generation.request import GenerateRequest
    from coeffdream.records.run import RunRecord
    from coeffdream.training.fit import Fitted
    from coeffdream.training.forecast import Passes

GIB = 1 << 30
LOOKING = "going through the phases in shapes alone, for the memory that they take"


def fitted(resolved: Resolved, base: Base, gigabytes: float) -> Fitted:
    """The training that `--fit` makes of what was asked for; says what was chosen. Raises ConfigError."""
    if not (math.isfinite(gigabytes) and gigabytes > 0):
        raise ConfigError(f"--fit {gigabytes:g} must be a positive number of gigabytes, such as 8")
    with loading("torch", "diffusers"):
        from coeffdream.training.fit import fit

    typed = {name for name, by in resolved.origins.items() if by in ("command line", "config file")}
    with doing(LOOKING):
        chosen = fit(_planned(resolved.config), base, gigabytes, typed)
    if not chosen.costs:
        say(f"--fit {gigabytes:g}: nothing has to be turned down")
    for option, price in chosen.costs.items():
        say(f"--fit {gigabytes:g}: {option} ({price})")
    return chosen


def say_plan(resolved: Resolved, base: Base, gigabytes: float | None, as_json: bool) -> None:
    """What would be trained, and the memory and time that it would take; nothing is written."""
    from coeffdream.cli.next_step import tell_next

    with loading("torch", "diffusers"):
        from coeffdream.adapters.count import parameter_summary
        from coeffdream.backbones.placement import memory_of
        from coeffdream.backbones.source import look_at
        from coeffdream.training.forecast import Forecast, passes

    if not base.is_toybox:
        say_what_it_is(look_at(base))
    chosen = None
    if gigabytes is not None:
        chosen = fitted(resolved, base, gigabytes)
        config, forecast, phases = chosen.config, chosen.forecast, chosen.phases
    else:
        with doing(LOOKING):
            config = _planned(resolved.config)
            forecast = Forecast(base, config)
            config = forecast.placed(config, memory_of(config.device))
            phases = forecast.phases(config)
    summary = parameter_summary(forecast.adapter, forecast.unet_parameters)
    runs = passes(config, base.settings.sampling_steps)
    peak = max(phases, key=lambda each: each.total)
    if as_json:
        show_json(
            {
                "config": dataclasses.asdict(config),
                "parameters": dataclasses.asdict(summary),
                "memory_bytes": {
                    "phases": _shown(phases),
                    "peak": peak.name,
                    "total": peak.total,
                },
                "left_out": forecast.left_out,
                "unet_passes": dataclasses.asdict(runs),
                "fit": chosen.costs if chosen else None,
            }
        )
        return
    for name, value in dataclasses.asdict(config).items():
        say(f"  {name:<24} {value}")
    say(
        f"would train {summary.trained:,} parameters ({summary.lora:,} {_kind(config)} on {summary.lora_modules} "
        f"projections, {summary.alpha:,} coefficients in {summary.alpha_layers} layers), "
        f"{summary.percent:.4f} % of {forecast.unet_parameters:,}"
    )
    if forecast.left_out:
        say(forecast.left_out)
    say_phases(phases, config.device, config.precision, config.base_precision)
    say_pictures(runs)
    say("dry run: nothing was written")
    tell_next(*(word for word in sys.argv[1:] if word not in ("--dry-run", "--debug")))


def say_pictures(runs: Passes) -> None:
    """What the pictures along the way cost."""
    if runs.pictures:
        say(
            f"passes of the UNet: {runs.steps:,} in training, {runs.samples:,} for {runs.pictures} pictures along the way "
            f"({runs.share:.0%}; a larger --sample-every draws fewer)"
        )


def say_drawing_plan(request: GenerateRequest, record: RunRecord, base: Base, as_json: bool) -> None:
    """What `generate` would draw, and the memory that it would take; nothing is written."""
    with loading("torch", "diffusers"):
        from coeffdream.generation.forecast import forecast_drawing

    live = record.concept.live if record.concept else None
    _, templates = request.templates(record.class_noun, live, toybox=base.is_toybox, parts=record.parts)
    sets = 2 if request.beside_base else 1
    pictures, sampling = sets * len(templates) * request.images_each, request.sampling(base.settings)
    with doing(LOOKING):
        forecast = forecast_drawing(request, base, None if request.no_adapter else record.config)
    if as_json:
        shown = {**dataclasses.asdict(forecast), "phases": _shown(forecast.phases)}
        show_json({**shown, "pictures": pictures, **vars(sampling)})
        return
    say(f"would draw {pictures:,} pictures of {sampling.size} pixels in {sampling.steps} steps each")
    if forecast.left_out:
        say(forecast.left_out)
    say_phases(forecast.phases, forecast.device, forecast.precision, forecast.base_precision)
    for flag, chosen in dataclasses.asdict(forecast.placement).items():
        if chosen not in (False, "none"):
            say(f"  with {' '.join(train_option(flag, chosen))}")
    say("dry run: nothing was written")


def _shown(phases: Sequence[Phase]) -> list[dict[str, Any]]:
    return [{**dataclasses.asdict(each), "total": each.total} for each in phases]


def _kind(config: TrainConfig) -> str:
    return f"of {config.plain_method}" if takes_loras_place(config.method) else "low-rank"


def _planned(config: TrainConfig) -> TrainConfig:
    from coeffdream.backbones.device import planned

    device, precision = planned(config.device, config.precision)
    return dataclasses.replace(config, device=device, precision=precision)


def say_phases(phases: Sequence[Phase], device: str, precision: str, base_precision: str) -> None:
    """A line for each phase, its parts largest first, and which of them is the peak."""
    from coeffdream.backbones.footprint import NOT_COUNTED

    peak = max(phases, key=lambda each: each.total)
    unit, called = (GIB, "GiB") if peak.total >= GIB else (GIB >> 10, "MiB")
    blocks = "" if base_precision == "auto" else f", the UNet's blocks in {base_precision}"
    say(f"memory, forecast from shapes on {device} in {precision}{blocks}, {called}:")
    for each in phases:
        parts = {**each.held, "activations": each.activations}
        largest = sorted(parts.items(), key=lambda part: -part[1])
        sums = " + ".join(f"{name.replace('_', ' ')} {size / unit:.2f}" for name, size in largest if size)
        say(f"  {each.name:<16} {each.total / unit:6.2f} = {sums}{'  <- the peak' if each is peak else ''}")
    rest = "the process itself" if device.startswith("cpu") else "the context of the card and workspaces"
    say(f"  and about {NOT_COUNTED / GIB:g} GiB for {rest}")
