"""The base that a request draws with, where and as the request wants it."""

from __future__ import annotations

import torch

from coeffdream.backbones.base import Base
from coeffdream.backbones.device import pick_device, pick_dtype
from coeffdream.backbones.kept import base_components
from coeffdream.backbones.load import Components
from coeffdream.backbones.placement import place
from coeffdream.backbones.schedule import drawing_scheduler
from coeffdream.generation.request import GenerateRequest
from coeffdream.progress import Progress


def load(request: GenerateRequest, base: Base, size: int, progress: Progress) -> Components:
    """size: of the pictures, by which models find their place."""
    progress("loading the base", 0, 1, base.name)
    device, cpu = pick_device(request.device), torch.device("cpu")
    dtype = pick_dtype(request.precision, device)
    components = base_components(base, device=device, dtype=dtype, unet_device=cpu)
    if request.scheduler is not None:
        components.scheduler = drawing_scheduler(components.scheduler, request.scheduler)
    place(components, request.model_offload, request.vae_tiling, size)
    components.move([] if components.model_offload else ["unet"], device)
    progress("loading the base", 1, 1, base.name)
    return components
