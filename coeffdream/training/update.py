"""What follows the gradients of a step: their norms, and Adam. A CUDA card replays both.

For a thousand small tensors Python takes longer to ask for an update than a fast card to make it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from coeffdream.backbones.replay import Replayed
from coeffdream.config import TrainConfig
from coeffdream.progress import unheard
from coeffdream.training.checkpoint import TrainingState
from coeffdream.training.optimizer import gradient_norms
from coeffdream.training.rates import rate_factor, set_rates


class Update:
    """Of one training. in_place: gradients stay where they are in memory, as what was recorded needs it."""

    def __init__(
        self,
        state: TrainingState,
        config: TrainConfig,
        *,
        in_place: bool,
        notice: Callable[[str], None] = unheard,
    ) -> None:
        self._adapter, self._optimizer, self._scaler = state.adapter, state.optimizer, state.scaler
        self._config, self._in_place = config, in_place
        self._parameters = list(state.adapter.trainable.values())
        self._replayed: tuple[Replayed, Replayed] | None = None
        # Whether loss scaling leaves a step out is read from the card.
        if in_place and not self._scaler.is_enabled():
            device = self._parameters[0].device
            self._replayed = Replayed(self._measured, device, notice), Replayed(self._made, device, notice)

    def clear(self) -> None:
        """Before the first gradients of a step."""
        if self._replayed is None:
            self._optimizer.zero_grad(set_to_none=not self._in_place)

    def norms(self) -> list[float]:
        """Of the gradients of the method's weights and of alpha, without loss scaling."""
        self._scaler.unscale_(self._optimizer)
        norms: list[float] = (self._replayed[0]({}) if self._replayed else self._measured({})).tolist()
        return norms

    def make(self, step: int) -> float:
        """Step number `step` from its gradients; the factor on the learning rates."""
        factor = rate_factor(step, self._config)
        if self._replayed:
            self._replayed[1]({"factor": torch.tensor(factor, dtype=torch.float64)})
            return factor
        self._clip()
        set_rates(self._optimizer, factor)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        return factor

    def _measured(self, _: Mapping[str, Tensor]) -> Tensor:
        return gradient_norms(self._adapter.weights, self._adapter.alpha)

    def _made(self, given: Mapping[str, Tensor]) -> Tensor:
        """The update, then gradients of zero for the next step."""
        self._clip()
        set_rates(self._optimizer, given["factor"])
        self._optimizer.step()
        gradients: list[Any] = [each.grad for each in self._parameters if each.grad is not None]
        torch._foreach_zero_(gradients)
        return given["factor"]

    def _clip(self) -> None:
        if self._config.max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(self._parameters, self._config.max_grad_norm)
