"""The least arithmetic of a training step of SDXL, counted from shapes: 1024 x 1024, batch 1, base frozen, LoRA.

    python tests/floor.py

The base's own products, LoRA's and attention's, forward and backward, as torch.utils.flop_counter counts them; what
gradient checkpointing computes again comes on top. Nothing is held in memory.
"""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from coeffdream.adapters.install import install, spec_for
from coeffdream.backbones.base import find_base
from coeffdream.backbones.footprint import Shapes
from coeffdream.config import TrainConfig


def counted(method: str) -> tuple[float, float]:
    """FLOP forward and backward, in units of 10^12."""
    shapes = Shapes(find_base("sdxl"), torch.bfloat16)
    unet = shapes.unet.train()
    adapter = install(
        unet, spec_for(TrainConfig(method=method, lora_targets="all.q,all.k,all.v,all.out"), unet)
    )
    with FlopCounterMode(display=False) as forward:
        predicted = unet(**shapes.unet_inputs(1024, 1)).sample
    with FlopCounterMode(display=False) as backward:
        predicted.float().square().mean().backward()
    adapter.uninstall()
    return forward.get_total_flops() / 1e12, backward.get_total_flops() / 1e12


if __name__ == "__main__":
    forward, backward = counted("lora")
    print(f"lora: forward {forward:.2f}, backward {backward:.2f}, together {forward + backward:.2f} TFLOP")
