"""How many threads the training of a base keeps busy on the CPU."""

from __future__ import annotations

import os

import torch
from torch import nn

# A layer of a UNet below this many parameters is over before a second thread has been woken.
SMALL = 50_000_000
CHOSEN_BY_HAND = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def settle_threads(unet: nn.Module) -> None:
    """One thread for the training of a small UNet on the CPU, unless the environment says how many.

    At a few small photos a step, two threads alone are no faster. Beside other work they wait for each other at
    every layer: on two cores with one more busy process a step of the toybox took 3 to 10 s in place of 0.2.
    Drawing has larger batches, and does gain from them.
    """
    small = sum(parameter.numel() for parameter in unet.parameters()) < SMALL
    if small and not any(name in os.environ for name in CHOSEN_BY_HAND):
        torch.set_num_threads(1)
