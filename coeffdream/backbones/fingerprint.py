"""What a base is known by: the names and shapes of its weights, and a few of their values."""

from __future__ import annotations

import hashlib

import torch
from torch import nn

SKETCH_LENGTH = 32
IP_ADAPTER = "encoder_hid_proj.image_projection_layers."


def own_tensors(unet: nn.Module) -> dict[str, torch.Tensor]:
    """The weights of the base itself, as they are called without what PEFT or an IP-Adapter has put around them."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    wrapped = tuple(f"{name}." for name, module in unet.named_modules() if isinstance(module, BaseTunerLayer))
    own = {}
    for name, tensor in unet.state_dict().items():
        plain = name.replace(".base_layer.", ".")
        adapters = name.startswith(wrapped) and plain == name
        if not adapters and ".processor." not in name and not name.startswith(IP_ADAPTER):
            own[plain] = tensor
    return own


def architecture_of(unet: nn.Module) -> str:
    """sha256 over the names and shapes of every weight of the base; adapters in it do not change it."""
    lines = sorted(f"{name} {tuple(tensor.shape)}" for name, tensor in own_tensors(unet).items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@torch.no_grad()
def sketch_of(unet: nn.Module) -> list[float]:
    """One weight from each of 32 layers: enough to tell two bases apart, whatever precision they are in."""
    tensors = [tensor for _, tensor in sorted(own_tensors(unet).items())]
    count = min(SKETCH_LENGTH, len(tensors))
    chosen = [tensors[i * len(tensors) // count].flatten() for i in range(count)]
    return [float(tensor[len(tensor) // 2]) for tensor in chosen]
