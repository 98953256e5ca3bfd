"""How much memory a training takes in each of its phases, and how often its UNet runs, before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from coeffdream.adapters.shapes import install_in_shapes
from coeffdream.attention.checkpointing import checkpoint_keeping_attention
from coeffdream.backbones.base import Base
from coeffdream.backbones.device import DTYPES
from coeffdream.backbones.footprint import TEXT, UNET, VAE, Phase, Shapes, phase, weights_of
from coeffdream.backbones.live_bytes import LiveBytes, flash_shapes
from coeffdream.backbones.placement import placement
from coeffdream.backbones.replay import replays
from coeffdream.config import TrainConfig
from coeffdream.training.samples import MOST_STEPS, TEMPLATES

ADAPTER = "adapter"


class Forecast:
    """The memory of trainings that differ from `config` in batch size, checkpointing, pictures and which models are on
    the device together. `config` is settled: its device and precision are named."""

    def __init__(self, base: Base, config: TrainConfig) -> None:
        self._shapes = shapes = Shapes(base, DTYPES[config.precision], config.base_precision, config.offload)
        self._size = config.resolution
        self._prompt = shapes.encoding_prompt()
        # The pictures of a class are drawn before there is an adapter.
        self._prior = shapes.drawing(self._size, 2) if config.prior else 0
        self.unet_parameters, self.away = shapes.unet_parameters, shapes.away
        self.adapter, self.left_out = install_in_shapes(shapes.unet, config)
        trained = sum(parameter.nbytes for parameter in self.adapter.trainable.values())
        # Beside the weights Adam's two moments; gradients are made in the step, and are alive among its activations.
        self._weights = {**shapes.weights, ADAPTER: 3 * trained}
        at_once = min(base.settings.sampling_batch_size, len(TEMPLATES))
        self._samples = shapes.drawing(self._size, 2 * at_once)
        self._steps: dict[tuple[bool, int], int] = {}

    def phases(self, config: TrainConfig) -> list[Phase]:
        """The phases of a training in their order."""
        return [*self.before_steps(config), self.step(config)]

    def before_steps(self, config: TrainConfig) -> list[Phase]:
        """All phases but the step itself, whose pictures are drawn between steps."""
        shapes, on_cpu = self._shapes, config.device.startswith("cpu")
        decoding = shapes.decoding(self._size, bool(config.vae_tiling))
        encoding = shapes.encoding_photo(self._size)
        # What stays on the device while another works.
        first: tuple[str, ...] = (UNET, VAE, TEXT) if on_cpu else (VAE, TEXT)
        prior: tuple[str, ...] = (UNET, VAE, TEXT)
        # What was recorded of drawing stays while a picture is decoded.
        turns = config.offload not in ("auto", "none")
        recorded = not turns and replays(torch.device(config.device))
        if turns:
            first = prior = ()
        phases = [("encode", first, [(TEXT, self._prompt), (VAE, encoding)])]
        if config.prior:
            kept = self._prior if recorded else 0
            drawn = [(UNET, self._prior), (VAE, kept + decoding), (VAE, kept + encoding)]
            phases.append(("prior pictures", prior, drawn))
        if config.sample_every:
            there = (ADAPTER,) if turns else self._trained_beside(config)
            kept = self._samples if recorded else 0
            phases.append(("sample pictures", there, [(UNET, self._samples), (VAE, kept + decoding)]))
        loaded = {**self._weights, UNET: shapes.as_loaded}
        loading = phase("load", loaded, first, [(part, shapes.freezing) for part in first or (TEXT,)])
        return [loading, *(phase(name, self._weights, there, works) for name, there, works in phases)]

    def step(self, config: TrainConfig) -> Phase:
        """Forward, backward and Adam."""
        key = config.gradient_checkpointing, config.batch_size * (2 if config.prior else 1)
        if key not in self._steps:
            self._steps[key] = self._counted_step(*key)
        return phase("step", self._weights, self._trained_beside(config), [(UNET, self._steps[key])])

    def placed(self, config: TrainConfig, memory: int | None) -> TrainConfig:
        """The config with what the memory of its device asks for; None is a device unknown."""
        chosen = placement(
            config.offload,
            config.vae_tiling,
            weights=self._weights,
            vae=self._shapes.vae,
            size=self._size,
            device=config.device,
            memory=memory,
        )
        return replace(config, offload=chosen.offload, vae_tiling=chosen.vae_tiling)

    def _trained_beside(self, config: TrainConfig) -> tuple[str, ...]:
        """What a training holds between its steps; on a CPU there is nowhere else for the VAE."""
        return (UNET, ADAPTER, VAE) if config.device.startswith("cpu") else (UNET, ADAPTER)

    def _counted_step(self, checkpointing: bool, batch: int) -> int:
        unet = self._shapes.unet
        if checkpointing:
            unet.enable_gradient_checkpointing(checkpoint_keeping_attention)
        unet.train()
        with LiveBytes(weights_of(unet)) as counted, flash_shapes():
            predicted = unet(**self._shapes.unet_inputs(self._size, batch)).sample
            if predicted.requires_grad:  # not where all that is trained had to be left out
                predicted.float().square().mean().backward()
        unet.disable_gradient_checkpointing()
        for parameter in self.adapter.trainable.values():
            parameter.grad = None
        return counted.peak


@dataclass(frozen=True)
class Passes:
    """How often the UNet runs in a whole training, counted per picture. A pass backward counts as one: the base is
    frozen, and only its inputs get gradients.

    steps: in training; samples: for the `pictures` along the way.
    """

    steps: int
    samples: int
    pictures: int

    @property
    def share(self) -> float:
        """Of the pictures along the way in all passes."""
        return self.samples / (self.steps + self.samples)


def passes(config: TrainConfig, sampling_steps: int) -> Passes:
    """Of a training from its beginning; sampling_steps: as the base recommends them."""
    photos = config.steps * config.batch_size * config.grad_accum * (2 if config.prior else 1)
    pictures = 0
    if config.sample_every:  # at the beginning, then every so many steps, and at the end
        pictures = len(TEMPLATES) * (1 + -(-config.steps // config.sample_every))
    # Guidance draws each picture with its prompt and with the negative one.
    drawing = pictures * 2 * min(sampling_steps, MOST_STEPS)
    return Passes(photos * (3 if config.gradient_checkpointing else 2), drawing, pictures)
