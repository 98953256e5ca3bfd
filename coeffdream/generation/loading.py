"""The base that pictures are drawn with, as the request and the run want it."""

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
from coeffdream.records.run import RunRecord


def load_to_draw(
    request: GenerateRequest, record: RunRecord, base: Base, size: int, progress: Progress
) -> Components:
    """size: of the pictures, in pixels. An adapter is drawn with the weights that it learned beside, unless the request
    has another base precision."""
    progress("loading the base", 0, 1, base.name)
    device = pick_device(request.device)
    components = base_components(
        base,
        device=device,
        dtype=pick_dtype(request.precision, device),
        unet_device=torch.device("cpu"),
        base_precision=request.base_precision or record.config.base_precision,
    )
    if request.scheduler is not None:
        components.scheduler = drawing_scheduler(components.scheduler, request.scheduler)
    place(components, request.offload, request.vae_tiling, size)
    components.move(["unet"] if components.offload == "none" else [], device)
    progress("loading the base", 1, 1, base.name)
    return components
