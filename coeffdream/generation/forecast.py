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
from coeffdream.config import BasePrecision, Precision, TrainConfig
from coeffdream.generation.request import GenerateRequest

ADAPTER = "adapter"
FOLDED = "folded layers"


@dataclass(frozen=True)
class DrawingForecast:
    """What a request takes on a device: its phases in their order, and what of the base is there together. `left_out`: what the
    phases are without, in words."""

    device: str
    precision: Precision
    base_precision: BasePrecision
    placement: Placement
    phases: list[Phase]
    left_out: str | None = None


def forecast_drawing(request: GenerateRequest, base: Base, trained: TrainConfig | None) -> DrawingForecast:
    """trained: how the adapter was, which says on which layers it sits; None for the untouched base.

    Raises ConfigError.
    """
    device, precision = planned(request.device, request.precision)
    asked, sampling = request.base_precision, request.sampling(base.settings)
    kept: BasePrecision = asked or (trained.base_precision if trained else "auto")
    request.check_fold(kept)
    shapes = Shapes(base, DTYPES[precision], kept, request.offload)
    weights = {**shapes.weights, ADAPTER: 0}
    left_out: str | None = None
    if trained is not None:
        adapter, left_out = install_in_shapes(shapes.unet, trained)
        weights[ADAPTER] = sum(parameter.nbytes for parameter in adapter.trainable.values())
        if request.fold:  # into a second weight, beside which the first waits
            layers = map(shapes.unet.get_submodule, adapter.spec.modules)
            weights[FOLDED] = sum(layer.get_base_layer().weight.nbytes for layer in layers)
    chosen = placement(
        request.offload,
        request.vae_tiling,
        weights=weights,
        vae=shapes.vae,
        size=sampling.size,
        device=device,
        memory=memory_of(device),
    )
    together = chosen.offload == "none"
    # What stays on the device while another works.
    encoding: tuple[str, ...] = (UNET, VAE, TEXT) if together else ()
    # Of models that take turns, what waits does so where the UNet does.
    folded = (FOLDED,) if together and FOLDED in weights else ()
    drawing = (UNET, VAE, ADAPTER, *folded) if together else (ADAPTER,)
    batch = request.batch_size or base.settings.sampling_batch_size
    drawn = shapes.drawing(sampling.size, 2 * batch if sampling.guidance_scale > 1 else batch)
    decoded = shapes.decoding(sampling.size, chosen.vae_tiling)
    if together and replays(torch.device(device)):
        decoded += drawn  # what was recorded of drawing stays while a picture is decoded
    # On a card the UNet arrives in its base precision.
    loaded = {**weights, UNET: shapes.as_loaded} if device.startswith("cpu") else weights
    phases = [
        phase("load", loaded, encoding, [(TEXT, shapes.freezing)]),
        phase("encode", weights, (*encoding, *folded), [(TEXT, shapes.encoding_prompt())]),
        phase("draw", weights, drawing, [(UNET, drawn)]),
        phase("decode", weights, drawing, [(VAE, decoded)]),
    ]
    return DrawingForecast(device, precision, kept, chosen, phases, left_out)
