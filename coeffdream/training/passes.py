"""Forward, loss and backward of one micro-batch: what a step spends its time on, and what a CUDA card replays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from coeffdream.adapters.lora import CastOnce
from coeffdream.backbones.processes import gathered, processes
from coeffdream.backbones.replay import Replayed
from coeffdream.config import TrainConfig
from coeffdream.methods import takes_loras_place
from coeffdream.progress import unheard
from coeffdream.training.deterministic import deterministic
from coeffdream.training.step import Draw, alike, as_tensors, losses, losses_of


@dataclass(frozen=True)
class Losses:
    """Of one micro-batch. total: what gradients are of, before loss scaling; each: of every draw."""

    total: float
    photos: float
    priors: float
    each: list[float]


class Passes:
    """Adds the gradients of this process's share of a micro-batch to those that are there.

    What the processes of a run have to tell each other they tell outside of what is recorded.

    Until `release` gradients stay where they are in memory if `records`: they are set to zero, not taken away.
    """

    def __init__(
        self,
        unet: Any,
        cast: CastOnce,
        scaler: torch.amp.GradScaler,
        config: TrainConfig,
        notice: Callable[[str], None] = unheard,
    ) -> None:
        self._unet, self._cast, self._scaler, self._config = unet, cast, scaler, config
        self._device, self._dtype = unet.device, unet.dtype
        self._share, self._count = processes().share(config.batch_size), processes().count
        # Under off-loading the UNet leaves the card whenever pictures are decoded; what PEFT's other methods do in a pass
        # beside launching kernels is theirs to know.
        whole = config.offload == "none" and not takes_loras_place(config.method)
        self._replayed = Replayed(self._of_tensors, self._device, notice) if whole else None

    @property
    def records(self) -> bool:
        return self._replayed is not None and self._replayed.records

    def __call__(self, draws: list[Draw], meanwhile: Callable[[], object] = lambda: None) -> Losses:
        """draws: the photos', of which there are `config.batch_size`, then as many of the class, or none. The losses are
        those of all processes together.

        `meanwhile` is called while a card works.
        """
        size = self._config.batch_size
        draws = [draws[start + place] for start in range(0, len(draws), size) for place in self._share]
        with deterministic(self._config.deterministic and self._device.type == "cuda"):
            if self._replayed and len(alike(draws)) == 1:
                values = self._replayed(as_tensors(draws, self._device, self._dtype))
            else:
                with self._cast.of_a_pass():
                    values = self._backward(losses(self._unet, draws, self._device, self._dtype))
        meanwhile()
        rows = [row.tolist() for row in gathered(values)]
        total, photos, priors = (sum(row[number] for row in rows) for number in range(3))
        own = len(self._share)
        each = [*(row[3 : 3 + own] for row in rows), *(row[3 + own :] for row in rows)]
        return Losses(total, photos, priors, [value for part in each for value in part])

    def release(self) -> None:
        """Leave the memory to other work."""
        if self._replayed:
            self._replayed.release()

    def _of_tensors(self, batch: Mapping[str, Tensor]) -> Tensor:
        with self._cast.of_a_pass():
            return self._backward(losses_of(self._unet, batch))

    def _backward(self, each: Tensor) -> Tensor:
        """total, photos, priors and each, in one tensor: every copy from a card waits for it."""
        count, config = len(self._share), self._config
        photos = each[:count].mean() / self._count
        priors = each[count:].sum() / max(len(each) - count, 1) / self._count
        total = (photos + config.prior_weight * priors) / config.grad_accum
        self._scaler.scale(total).backward()
        return torch.cat([torch.stack([total, photos, priors]), each]).detach()
