"""The base that the benchmarks of training and drawing run on, with drawn data in place of photos and prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

RANDOM = "random-sdxl"
PROMPT_TOKENS = 77
PHOTOS = 5


@dataclass(frozen=True)
class Subject:
    """A base on its device, and the samples that it is trained on."""

    name: str
    components: Any  # backbones.load.Components, without text encoders
    samples: list[Any]  # training.latent_cache.TrainingSample
    resolution: int


def make_subject(base: Any, resolution: int, device: Any, dtype: Any) -> Subject:
    """`base` loaded, or SDXL at its true size with drawn weights for a base called random-sdxl."""
    from coeffdream.backbones.load import load_components

    if base.name == RANDOM:
        components = _drawn_components(base, device, dtype)
    else:
        components = load_components(base, device=device, dtype=dtype)
        components.release_text_encoders()
    samples = [_drawn_sample(components, resolution, number) for number in range(PHOTOS)]
    return Subject(base.name, components, samples, resolution)


def find_subject(name: str) -> Any:
    """The base of that name; random-sdxl is SDXL's configs as they lie in the package."""
    from coeffdream.backbones.base import Base, find_base
    from coeffdream.backbones.source import SDXL

    return Base(RANDOM, "folder", str(SDXL)) if name == RANDOM else find_base(name)


def _drawn_components(base: Any, device: Any, dtype: Any) -> Any:
    import torch
    from diffusers import AutoencoderKL

    from coeffdream.backbones.fingerprint import architecture_of
    from coeffdream.backbones.load import Components, meta_unet
    from coeffdream.backbones.source import look_at

    source = look_at(base)
    unet = _drawn(meta_unet(base).to(dtype), device)
    with torch.device("meta"):
        vae = AutoencoderKL.from_config(AutoencoderKL.load_config(source.folder / "vae"))
    return Components(
        base=base,
        unet=unet,
        vae=_drawn(vae, device),
        text_encoder=None,
        text_encoder_2=None,
        tokenizer=None,
        tokenizer_2=None,
        scheduler=source.scheduler,
        force_zeros_for_empty_prompt=source.force_zeros,
        device=device,
        architecture=architecture_of(unet),
        sketch=[],
        parameters=sum(parameter.numel() for parameter in unet.parameters()),
    )


def _drawn(model: Any, device: Any) -> Any:
    """Weights of a size that keeps the size of what passes through, drawn on the device from one seed."""
    import torch

    model = model.to_empty(device=device).requires_grad_(False).eval()
    generator = torch.Generator(device).manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                weight.normal_(0, (weight.numel() / len(weight)) ** -0.5, generator=generator)
            else:
                weight.fill_(float(name.endswith("weight")))  # norms; biases are 0
    return model


def _drawn_sample(components: Any, resolution: int, number: int) -> Any:
    import torch

    from coeffdream.backbones.encode import Conditioning, LatentPosterior
    from coeffdream.training.encoded import TrainingSample

    config, generator = components.unet.config, torch.Generator().manual_seed(number)
    pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
    side = resolution // components.pipeline.vae_scale_factor

    def normal(*shape: int) -> Any:
        return torch.randn(shape, generator=generator)

    def text(*shape: int) -> Any:
        return normal(*shape).to(components.device, components.unet.dtype)

    wide = (PROMPT_TOKENS, config.cross_attention_dim)
    latent = (config.in_channels, side, side)
    return TrainingSample(
        f"drawn {number}",
        LatentPosterior(normal(*latent), torch.ones(latent)),
        (resolution, resolution, 0, 0, resolution, resolution),
        Conditioning(text(*wide), text(pooled), text(*wide), text(pooled)),
    )
