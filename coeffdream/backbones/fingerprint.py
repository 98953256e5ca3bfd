"""What a base is known by: the names and shapes of its weights, and a few of their values."""

from __future__ import annotations

import hashlib

import torch
from torch import nn

SKETCH_LENGTH = 32


def architecture_of(unet: nn.Module) -> str:
    """sha256 over the names and shapes of every weight. Take it before anything is installed."""
    lines = sorted(f"{name} {tuple(tensor.shape)}" for name, tensor in unet.state_dict().items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@torch.no_grad()
def sketch_of(unet: nn.Module) -> list[float]:
    """One weight from each of 32 layers: enough to tell two bases apart, whatever precision they are in."""
    tensors = [tensor for _, tensor in sorted(unet.state_dict().items())]
    count = min(SKETCH_LENGTH, len(tensors))
    chosen = [tensors[i * len(tensors) // count].flatten() for i in range(count)]
    return [float(tensor[len(tensor) // 2]) for tensor in chosen]
