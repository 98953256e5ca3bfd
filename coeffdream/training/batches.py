"""What the steps draw on the CPU, each made while a card still works on the one before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from coeffdream.adapters.install import Adapter
from coeffdream.config import TrainConfig
from coeffdream.training.encoded import TrainingSample
from coeffdream.training.step import Draw, NoiseSchedule, draw_sample


@dataclass(frozen=True)
class TrainingData:
    """The encoded photos, and the encoded class images when the prior is preserved."""

    photos: list[TrainingSample]
    class_images: list[TrainingSample]


class Batches:
    """Micro-batches, counted over the whole run, and the dropout masks of the step that each belongs to."""

    def __init__(
        self, adapter: Adapter, data: TrainingData, schedule: NoiseSchedule, config: TrainConfig
    ) -> None:
        self._adapter, self._data, self._schedule, self._config = adapter, data, schedule, config
        self._ahead: tuple[int, list[Draw], Tensor | None] | None = None

    def take(self, number: int) -> tuple[list[Draw], Tensor | None, Callable[[], None]]:
        """Micro-batch `number`: its draws, the photos' first; the masks of a step that begins; what makes the next one."""
        if self._ahead is None or self._ahead[0] != number:
            self._make(number)
        assert self._ahead is not None
        _, draws, masks = self._ahead
        return draws, masks, lambda: self._make(number + 1)

    def _make(self, number: int) -> None:
        config, data = self._config, self._data
        positions = range(number * config.batch_size, (number + 1) * config.batch_size)
        draws = [
            draw_sample(samples, position, self._schedule, config, purpose)
            for samples, purpose in ((data.photos, "photo"), (data.class_images, "class"))
            for position in positions
            if samples
        ]
        step, micro = divmod(number, config.grad_accum)
        masks = self._adapter.drawn_masks(config.seed, step) if micro == 0 else None
        self._ahead = number, draws, masks
