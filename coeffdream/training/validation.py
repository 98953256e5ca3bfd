"""A loss that says something: the same photos, timesteps and noise each time, where a step's own depends on its draw.

Measured under two captions: the photo's own, which is what is learned, and the bare class noun, under which the
loss falls as the noun itself becomes the thing (language drift, arXiv 2208.12242, section 3.2). All draws follow from
constants, none from the run's seed, so that runs of one concept compare, and none from the training's own streams.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from coeffdream.backbones.encode import Conditioning
from coeffdream.backbones.halving import halving
from coeffdream.backbones.load import Components
from coeffdream.config import TrainConfig
from coeffdream.diffusion.noise import normal
from coeffdream.diffusion.objective import add_noise, min_snr_weight, target
from coeffdream.records.run import Validated
from coeffdream.training.encoded import TrainingSample
from coeffdream.training.step import Draw, NoiseSchedule, as_tensors, losses, predicted_of

SEED = 0
DRAWS = 16  # of each caption, their timesteps evenly through the schedule


@dataclass
class Validation:
    """What is measured at each checkpoint. `draws`: DRAWS under the photos' captions, then as many under the class's."""

    draws: Sequence[Draw]
    at_once: int

    @classmethod
    def of(
        cls,
        photos: Sequence[TrainingSample],
        of_the_class: Conditioning,
        schedule: NoiseSchedule,
        min_snr: float | None,
        at_once: int,
    ) -> Validation:
        """photos: those to measure on, in turn. at_once: how many go through the UNet together, if the memory allows."""
        own = [_draw(photos[number % len(photos)], number, schedule, min_snr) for number in range(DRAWS)]
        of_class = [replace(each, sample=replace(each.sample, conditioning=of_the_class)) for each in own]
        return cls([*own, *of_class], at_once)

    @torch.no_grad()
    def measure(self, unet: Any, meanwhile: AbstractContextManager[None] | None = None) -> dict[str, float]:
        """`validation_loss` and `class_loss` of the UNet as it is `meanwhile`, weighted as in training."""
        unet.eval()
        each: list[Tensor] = []
        place = unet.device, unet.dtype
        with meanwhile or nullcontext():
            for _, part in halving(
                self.draws, self.at_once, lambda draws: losses(unet, list(draws), *place), self._smaller
            ):
                each.append(part)
        values = torch.cat(each)
        return {
            "validation_loss": values[:DRAWS].mean().item(),
            "class_loss": values[DRAWS:].mean().item(),
        }

    @torch.no_grad()
    def predicted(self, unet: Any) -> Tensor:
        """What the UNet, as it is, says to the draw in the middle: [C, h, w], float32."""
        unet.eval()
        middle = as_tensors([self.draws[DRAWS // 2]], unet.device, unet.dtype)
        return predicted_of(unet, middle)[0].float()

    def _smaller(self, size: int) -> None:
        self.at_once = size


def prepare_validation(
    components: Components,
    photos: Sequence[TrainingSample],
    held_out: bool,
    of_the_class: Conditioning,
    config: TrainConfig,
) -> tuple[Validation, Validated]:
    """The validation of a run, and what it says of the UNet as it is: call it before an adapter is installed."""
    schedule = NoiseSchedule.of(components.scheduler)
    # Few at once, as the base recommends for drawing: a training run leaves little memory.
    at_once = components.base.settings.sampling_batch_size
    validation = Validation.of(photos, of_the_class, schedule, config.min_snr, at_once)
    names = list(dict.fromkeys(draw.sample.name for draw in validation.draws))
    return validation, Validated(names, held_out, **validation.measure(components.unet))


def _draw(sample: TrainingSample, number: int, schedule: NoiseSchedule, min_snr: float | None) -> Draw:
    """Draw `number` of DRAWS: the middle of its share of the timesteps, noise of its own."""
    shape = tuple(sample.posterior.mean.shape)
    timestep = torch.tensor([int((number + 0.5) / DRAWS * len(schedule.alphas_cumprod))])
    latents, noise = sample.posterior.mean[None], normal(shape, SEED, "validation-noise", number)[None]
    weight = torch.ones(1)
    if min_snr is not None:
        weight = min_snr_weight(timestep, schedule.alphas_cumprod, min_snr, schedule.prediction)
    return Draw(
        sample,
        int(timestep),
        add_noise(latents, noise, timestep, schedule.alphas_cumprod)[0],
        target(latents, noise, timestep, schedule.alphas_cumprod, schedule.prediction)[0],
        float(weight),
    )
