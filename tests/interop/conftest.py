"""The toybox's UNet with its own weights, and an adapter with something learned in it."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from coeffdream.adapters.install import Adapter, install, spec_for
from coeffdream.config import TrainConfig
from coeffdream.interop.metadata import About
from coeffdream.toybox.paths import WEIGHTS


@pytest.fixture(scope="session")
def toy_unet():
    """Shared: copy it before changing it."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel.from_pretrained(WEIGHTS / "unet").requires_grad_(False).eval()


@pytest.fixture
def unet(toy_unet):
    return copy.deepcopy(toy_unet)


@pytest.fixture
def predict():
    """One forward pass of a toybox UNet on fixed inputs. [2, C, 16, 16]."""

    def call(unet) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        pooled = unet.config.projection_class_embeddings_input_dim - 6 * unet.config.addition_time_embed_dim
        sample = torch.randn(2, unet.config.in_channels, 16, 16, generator=generator)
        text = torch.randn(2, 12, unet.config.cross_attention_dim, generator=generator)
        added = {
            "text_embeds": torch.randn(2, pooled, generator=generator),
            "time_ids": torch.tensor([[64.0, 64, 0, 0, 64, 64]] * 2),
        }
        with torch.no_grad():
            return unet(sample, torch.tensor([1, 500]), text, added_cond_kwargs=added).sample

    return call


@pytest.fixture
def learned_on():
    """Install a method on a UNet and move every parameter of it away from where it started."""

    def call(
        unet, method: str, targets: str = "cross.q,cross.v", rank: int = 2, size: float = 0.1
    ) -> Adapter:
        config = TrainConfig(method=method, lora_targets=targets, rank=rank)  # type: ignore[arg-type]
        adapter = install(unet, spec_for(config, unet))
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in adapter.trainable.values():
                parameter += size * torch.randn(parameter.shape, generator=generator)
        return adapter

    return call


@pytest.fixture
def about() -> About:
    return About(
        name="cat-lora",
        method="lora",
        base="sdxl",
        class_noun="cat",
        token="sks",
        resolution=1024,
    )


@pytest.fixture
def read_file():
    """Tensors and metadata of a safetensors file."""

    def call(file: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
        from safetensors import safe_open

        with safe_open(file, "pt") as opened:
            return {key: opened.get_tensor(key) for key in opened.keys()}, dict(opened.metadata())  # noqa: SIM118

    return call
