"""How much memory a training takes in each of its phases, and how often its UNet runs, before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from coeffdream.adapters.install import install, spec_for
from coeffdream.attention.checkpointing import checkpoint_keeping_attention
from coeffdream.backbones.base import Base
from coeffdream.backbones.device import DTYPES
from coeffdream.backbones.footprint import TEXT, UNET, VAE, Phase, Shapes, phase
from coeffdream.backbones.live_bytes import LiveBytes, flash_shapes
from coeffdream.config import TrainConfig
from coeffdream.training.samples import TEMPLATES

ADAPTER = "adapter"


class Forecast:
    """The memory of trainings that differ from `config` in batch size, checkpointing, pictures and what is on the
    device together. `config` is settled: its device and precision are named."""

    def __init__(self, base: Base, config: TrainConfig) -> None:
        self._shapes = shapes = Shapes(base, DTYPES[config.precision])
        self._size = config.resolution
        self._prompt = shapes.encoding_prompt()
        # The pictures of a class are drawn before there is an adapter.
        self._prior = shapes.drawing(self._size, 1) if config.prior else 0
        self.adapter = install(shapes.unet, spec_for(config, shapes.unet))
        trained = sum(parameter.nbytes for parameter in self.adapter.trainable.values())
        # Beside the weights Adam's two moments; gradients are made in the step, and are alive among its activations.
        self._weights = {**shapes.weights, ADAPTER: 3 * trained}
        self._samples = shapes.drawing(self._size, min(base.settings.sampling_batch_size, len(TEMPLATES)))
        self._steps: dict[tuple[bool, int], int] = {}

    def phases(self, config: TrainConfig) -> list[Phase]:
        """The phases of a training in their order."""
        shapes, on_cpu = self._shapes, config.device.startswith("cpu")
        decoding = shapes.decoding(self._size, bool(config.vae_tiling))
        encoding = shapes.encoding_photo(self._size)
        # What stays on the device while its neighbors work; under model_offload nothing does but what is trained.
        at_first = () if config.model_offload else (UNET, VAE, TEXT) if on_cpu else (VAE, TEXT)
        at_prior = () if config.model_offload else (UNET, VAE, TEXT)
        later = (ADAPTER,) if config.model_offload else (UNET, ADAPTER, VAE) if on_cpu else (UNET, ADAPTER)

        def made(name: str, there: tuple[str, ...], *works: tuple[str, int]) -> Phase:
            return phase(name, self._weights, there, works)

        phases = [
            made("load", at_first, *((part, 0) for part in at_first or (TEXT,))),
            made("encode", at_first, (TEXT, self._prompt), (VAE, encoding)),
        ]
        if config.prior:
            works = ((UNET, self._prior), (VAE, decoding), (VAE, encoding))
            phases.append(made("prior pictures", at_prior, *works))
        if config.sample_every:
            phases.append(made("sample pictures", later, (UNET, self._samples), (VAE, decoding)))
        return [*phases, made("step", later, (UNET, self._step(config)))]

    def _step(self, config: TrainConfig) -> int:
        batch = config.batch_size * (2 if config.prior else 1)
        key = config.gradient_checkpointing, batch
        if key not in self._steps:
            self._steps[key] = self._counted_step(*key)
        return self._steps[key]

    def _counted_step(self, checkpointing: bool, batch: int) -> int:
        unet = self._shapes.unet
        if checkpointing:
            unet.enable_gradient_checkpointing(checkpoint_keeping_attention)
        unet.train()
        with LiveBytes(unet.parameters()) as counted, flash_shapes():
            predicted = unet(**self._shapes.unet_inputs(self._size, batch)).sample
            predicted.float().square().mean().backward()
        unet.disable_gradient_checkpointing()
        for parameter in self.adapter.trainable.values():
            parameter.grad = None
        return counted.peak


@dataclass(frozen=True)
class Passes:
    """How often the UNet runs for one picture in a whole training. A pass backward counts as one: with frozen weights
    it takes about as long as one forward."""

    steps: int
    samples: int

    @property
    def share(self) -> float:
        """Of the pictures along the way in all passes."""
        return self.samples / (self.steps + self.samples)


def passes(config: TrainConfig, sampling_steps: int) -> Passes:
    """Of a training from its beginning; sampling_steps: of one picture."""
    each = config.batch_size * config.grad_accum * (2 if config.prior else 1)
    a_step = each * (3 if config.gradient_checkpointing else 2)
    drawn = 0
    if config.sample_every:
        drawn = 1 + -(-config.steps // config.sample_every)
    # Guidance has every picture drawn with its prompt and with the negative one.
    return Passes(config.steps * a_step, drawn * len(TEMPLATES) * 2 * sampling_steps)
