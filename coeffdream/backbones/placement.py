"""What is on the device together: all of a base, or each model only while it works."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from coeffdream.backbones.footprint import (
    NOT_COUNTED,
    TEXT,
    UNET,
    VAE,
    decoding,
    encoding_photo,
    weight_bytes,
)
from coeffdream.backbones.frozen import keep_linears_away
from coeffdream.backbones.load import Components
from coeffdream.backbones.tiles import TILE
from coeffdream.backbones.variants import STEMS
from coeffdream.config import Offload


@dataclass(frozen=True)
class Placement:
    """offload: with `model` each model is on the device only while it works, with `blocks` each layer of the UNet's
    blocks, too; that changes no bit of what they compute. vae_tiling: the VAE decodes what is over 512 pixels in tiles,
    which changes pixels a little."""

    offload: Offload
    vae_tiling: bool


def placement(
    offload: Offload,
    vae_tiling: bool | None,
    *,
    weights: Mapping[str, int],
    vae: Any,
    size: int,
    device: str,
    memory: int | None,
) -> Placement:
    """What was asked for, and where it is None what the `memory` of the device asks for; None is a device unknown.

    weights: bytes of the parts; vae: one of shapes. Everything stays together while it fits.
    """
    on_cpu = device.startswith("cpu")
    chosen: Offload = "none" if on_cpu or offload == "auto" else offload
    tiling = bool(vae_tiling)
    if memory is None or size <= TILE or (offload != "auto" and vae_tiling is not None):
        return Placement(chosen, tiling)
    room = memory - NOT_COUNTED
    decoded, encoded = decoding(vae, size, tiling), encoding_photo(vae, size)
    together = max(weights[UNET] + weights[VAE] + decoded, weights[TEXT] + weights[VAE] + encoded)
    if offload == "auto" and not on_cpu and together > room:
        chosen = "model"
    if vae_tiling is None:
        beside = weights[VAE] if chosen != "none" else weights[UNET] + weights[VAE]
        tiling = beside + decoded > room
    return Placement(chosen, tiling)


def place(components: Components, offload: Offload, vae_tiling: bool | None, size: int) -> None:
    """Give a base that is loaded its placement; under off-loading all its parts then wait on the CPU."""
    from accelerate import init_empty_weights

    with init_empty_weights():
        vae = type(components.vae).from_config(components.vae.config).eval()
    chosen = placement(
        offload,
        vae_tiling,
        weights={
            UNET: weight_bytes(components.unet),
            VAE: weight_bytes(components.vae),
            TEXT: weight_bytes(components.text_encoder) + weight_bytes(components.text_encoder_2),
        },
        vae=vae,
        size=size,
        device=str(components.device),
        memory=memory_of(str(components.device)),
    )
    components.offload, components.vae_tiling = chosen.offload, chosen.vae_tiling
    if chosen.offload != "none":
        components.move(STEMS, torch.device("cpu"))
    if chosen.offload == "blocks":
        keep_linears_away(components.unet)


def memory_of(name: str) -> int | None:
    """All the memory of a device in bytes, whoever uses it now; None when it is not here."""
    device = torch.device(name)
    if device.type == "cuda":
        return (
            int(torch.cuda.get_device_properties(device).total_memory) if torch.cuda.is_available() else None
        )
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory()) if torch.backends.mps.is_available() else None
    import psutil

    return int(psutil.virtual_memory().total)
