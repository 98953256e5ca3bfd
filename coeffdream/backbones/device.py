"""Where tensors live and in which precision the frozen base is kept."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from coeffdream.backbones.processes import processes
from coeffdream.errors import ConfigError

if TYPE_CHECKING:
    from coeffdream.config import Precision, TrainConfig

PRECISIONS: dict[torch.dtype, Precision] = {
    torch.float32: "fp32",
    torch.bfloat16: "bf16",
    torch.float16: "fp16",
}
DTYPES: dict[str, torch.dtype] = {name: dtype for dtype, name in PRECISIONS.items()}


def pick_device(name: str) -> torch.device:
    """ "auto" takes CUDA, then Apple's GPU, then the CPU. Of several processes each takes the card of its place.

    Raises ConfigError for a device that is not here."""
    if name in ("auto", "cuda") and processes().local and torch.cuda.is_available():
        name = f"cuda:{processes().local}"
    # cuBLAS reads it at its first product; without, its sums over splits have no order of their own.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"--device {name!r} is no device; use auto, cpu, cuda, cuda:1 or mps") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"--device {name}: this machine has {torch.cuda.device_count()} CUDA devices; use --device cpu"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("--device mps: this machine has no Apple GPU; use --device cpu")
    return device


def pick_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """ "auto" is bfloat16 on a GPU that computes in it, float16 on one that does not or only emulates it, float32
    elsewhere."""
    if precision != "auto":
        return DTYPES[precision]
    if device.type == "cuda":
        with torch.cuda.device(device):  # there may be others, and the current one is asked
            native = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if native else torch.float16
    return torch.float32


def settled(config: TrainConfig) -> TrainConfig:
    """A config whose device and precision are those that this machine makes of "auto". Raises ConfigError."""
    device = pick_device(config.device)
    return replace(config, device=str(device), precision=PRECISIONS[pick_dtype(config.precision, device)])


def planned(device: str, precision: Precision) -> tuple[str, Precision]:
    """What a forecast makes of "auto": it may be of a card, where this machine has none. Raises ConfigError."""
    if device.startswith("cuda") and not torch.cuda.is_available():
        return device, "bf16" if precision == "auto" else precision
    there = pick_device(device)
    return str(there), PRECISIONS[pick_dtype(precision, there)]


def kind_of(device: torch.device) -> str:
    """What computes: the name of the card, else cpu or mps. Two kinds round differently, and draw other pictures."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def here_or_auto(name: str) -> str:
    """The device of that name, or "auto" where this machine has none such."""
    try:
        pick_device(name)
    except ConfigError:
        return "auto"
    return name
