"""What a cell of a study takes of a machine, from the forecasts of its trainings and of its drawing."""

from __future__ import annotations

from dataclasses import dataclass, replace

from coeffdream.backbones.base import base_asked
from coeffdream.backbones.device import planned
from coeffdream.backbones.footprint import NOT_COUNTED, TEXT, UNET, VAE
from coeffdream.backbones.placement import memory_of
from coeffdream.generation.forecast import forecast_drawing
from coeffdream.generation.request import GenerateRequest
from coeffdream.records.arms import AGAINST
from coeffdream.records.study_plan import Study
from coeffdream.resolve import resolve
from coeffdream.training.forecast import Forecast


@dataclass(frozen=True)
class Need:
    """Bytes at the peak of the most demanding arm: of a card (0 where there is none), and of the machine's memory."""

    card: int
    machine: int


def need(study: Study, device: str) -> Need:
    """Of one worker on `device`, which this machine need not have: "cuda" or "cpu". Raises ConfigError."""
    base = base_asked({"base": study.base})
    peaks, weights = [0], 0
    for arm in study.methods:
        options = {name: value for name, value in study.options_of(arm).items() if name != AGAINST}
        given = {**options, "base": study.base, "sample_every": 0}
        config = resolve(given, recommended=base.settings.training).config
        there, precision = planned(device, config.precision)
        config = replace(config, device=there, precision=precision)
        forecast = Forecast(base, config)
        config = forecast.placed(config, memory_of(there))
        drawing = forecast_drawing(GenerateRequest(device=there), base, config)
        phases = [*forecast.phases(config), *drawing.phases]
        peaks += [each.total for each in phases]
        parts = {part: size for each in phases for part, size in each.held.items()}
        weights = max(weights, sum(parts.get(part, 0) for part in (UNET, VAE, TEXT)))
    # A worker keeps the base in the machine's memory, and on a CPU computes with those very weights.
    kept = weights + NOT_COUNTED
    return (
        Need(0, max(max(peaks) + NOT_COUNTED, kept))
        if device == "cpu"
        else Need(max(peaks) + NOT_COUNTED, kept)
    )
