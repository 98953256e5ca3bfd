"""How much memory drawing takes in each of its phases, before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from coeffdream.adapters.shapes import install_in_shapes
from coeffdream.backbones.base import Base
from coeffdream.backbones.device import DTYPES, planned
from coeffdream.backbones.footprint import TEXT, UNET, VAE, Phase, Shapes, phase
from coeffdream.backbones.placement import Placement, memory_of, placement
from coeffdream.backbones.replay import replays
from coeffdream.config import Precision, TrainConfig
from coeffdream.generation.request import GenerateRequest

ADAPTER = "adapter"


@dataclass(frozen=True)
class DrawingForecast:
    """What a request takes on a device: its phases in their order, and what of the base is there together. `left_out`: what the
    phases are without, in words."""

    device: str
    precision: Precision
    placement: Placement
    phases: list[Phase]
    left_out: str | None = None


def forecast_drawing(request: GenerateRequest, base: Base, trained: TrainConfig | None) -> DrawingForecast:
    """trained: how the adapter was, which says on which layers it sits; None for the untouched base.

    Raises ConfigError.
    """
    device, precision = planned(request.device, request.precision)
    shapes, sampling = Shapes(base, DTYPES[precision]), request.sampling(base.settings)
    weights, left_out = {**shapes.weights, ADAPTER: 0}, None
    if trained is not None:
        adapter, left_out = install_in_shapes(shapes.unet, trained)
        weights[ADAPTER] = sum(parameter.nbytes for parameter in adapter.trainable.values())
    chosen = placement(
        request.model_offload,
        request.vae_tiling,
        weights=weights,
        vae=shapes.vae,
        size=sampling.size,
        device=device,
        memory=memory_of(device),
    )
    # What stays on the device while another works.
    encoding: tuple[str, ...] = () if chosen.model_offload else (UNET, VAE, TEXT)
    drawing = (ADAPTER,) if chosen.model_offload else (UNET, VAE, ADAPTER)
    batch = request.batch_size or base.settings.sampling_batch_size
    drawn = shapes.drawing(sampling.size, 2 * batch if sampling.guidance_scale > 1 else batch)
    decoded = shapes.decoding(sampling.size, chosen.vae_tiling)
    if not chosen.model_offload and replays(torch.device(device)):
        decoded += drawn  # what was recorded of drawing stays while a picture is decoded
    phases = [
        phase("load", weights, encoding, [(TEXT, 0)]),
        phase("encode", weights, encoding, [(TEXT, shapes.encoding_prompt())]),
        phase("draw", weights, drawing, [(UNET, drawn)]),
        phase("decode", weights, drawing, [(VAE, decoded)]),
    ]
    return DrawingForecast(device, precision, chosen, phases, left_out)
