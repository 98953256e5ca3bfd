"""How much memory drawing takes in each of its phases, before anything is loaded."""

from __future__ import annotations

from coeffdream.adapters.install import install, spec_for
from coeffdream.backbones.base import Base
from coeffdream.backbones.device import pick_dtype, planned_device
from coeffdream.backbones.footprint import TEXT, UNET, VAE, Phase, Shapes, phase
from coeffdream.backbones.placement import memory_of, placement
from coeffdream.config import TrainConfig
from coeffdream.generation.request import GenerateRequest

ADAPTER = "adapter"


def forecast_phases(request: GenerateRequest, base: Base, trained: TrainConfig) -> list[Phase]:
    """The phases of drawing in their order. trained: how the adapter was, which says on which layers it sits.

    Raises UserError.
    """
    shapes = Shapes(base, pick_dtype(request.precision, request.device))
