"""How much memory a base takes while it works, before any of it is loaded.

Its parts are made as shapes without values and sent through the calls of a real run, while every storage that
lives is counted. Shape letters: B batch, C latent channels, L prompt tokens, E text width, P pooled width.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from coeffdream.backbones.base import Base
from coeffdream.backbones.frozen import check_form, freeze_linears, freezing, keep_linears_away
from coeffdream.backbones.live_bytes import LiveBytes, flash_shapes
from coeffdream.backbones.load import meta_parts
from coeffdream.backbones.tiles import in_tiles, latent_factor
from coeffdream.config import BasePrecision, Offload

UNET, VAE, TEXT = "unet", "vae", "text_encoders"
# Bytes that no forecast counts: the CUDA context, workspaces and the allocator's slack; on a CPU the process itself.
NOT_COUNTED = 1 << 30


@dataclass(frozen=True)
class Phase:
    """A stretch of a run where it takes most. Bytes; held: of the weights there, by what they belong to;
    activations: the most that is alive at once beside them."""

    name: str
    held: dict[str, int]
    activations: int

    @property
    def total(self) -> int:
        return sum(self.held.values()) + self.activations


def phase(
    name: str, weights: Mapping[str, int], there: Iterable[str], works: Iterable[tuple[str, int]]
) -> Phase:
    """The most of what is done one after another. there: the weights that are on the device throughout; works: the
    part at work, which is there meanwhile, and the bytes of its activations."""
    each = [
        Phase(name, {part: weights[part] for part in dict.fromkeys((*there, working))}, activations)
        for working, activations in works
    ]
    return max(each, key=lambda one: one.total)


class Shapes:
    """A base without values: what its parts weigh, and what they hold while they work. All in bytes.

    as_loaded: the UNet as its files have it, in the dtype; unet_parameters: so many they are; freezing: the most that
    is at work while its layers are brought into the base precision; away: of the UNet off the device throughout."""

    def __init__(
        self,
        base: Base,
        dtype: torch.dtype,
        base_precision: BasePrecision = "auto",
        offload: Offload = "none",
    ) -> None:
        parts = meta_parts(base, dtype)
        self.unet: Any = parts[UNET]
        self.as_loaded = weight_bytes(self.unet)
        self.unet_parameters = sum(parameter.numel() for parameter in self.unet.parameters())
        check_form(base_precision, torch.device("meta"))
        self.freezing = 0 if base_precision == "auto" else freezing(self.unet, base_precision)
        freeze_linears(self.unet, base_precision, torch.device("meta"))
        whole = weight_bytes(self.unet)
        if offload == "blocks":
            keep_linears_away(self.unet)
        self.away = whole - weight_bytes(self.unet)
        self.vae: Any = parts[VAE]
        self._encoders: list[Any] = [parts["text_encoder"], parts["text_encoder_2"]]
        self.weights = {
            UNET: weight_bytes(self.unet),
            VAE: weight_bytes(self.vae),
            TEXT: sum(map(weight_bytes, self._encoders)),
        }
        self.decoding = cache(lambda size, tiling: decoding(self.vae, size, tiling))
        self.encoding_photo = cache(lambda size: encoding_photo(self.vae, size))

    def encoding_prompt(self) -> int:
        """A prompt, by the larger of the text encoders."""
        most = 0
        for encoder in self._encoders:
            with torch.no_grad(), flash_shapes(), LiveBytes(weights_of(encoder)) as counted:
                read = torch.zeros(1, self.tokens, dtype=torch.long, device="meta")
                encoder(read, output_hidden_states=True)
            most = max(most, counted.peak)
        return most

    def drawing(self, size: int, batch: int) -> int:
        """A pass of the UNet without gradients, with the adapter that it has by now. Under guidance a picture takes two
        places in the batch."""
        self.unet.eval()
        with torch.no_grad(), flash_shapes(), LiveBytes(weights_of(self.unet)) as counted:
            self.unet(**self.unet_inputs(size, batch))
        return counted.peak

    def unet_inputs(self, size: int, batch: int) -> dict[str, Any]:
        """What the UNet is called with: latents [B, C, h, w], embeddings [B, L, E], pooled [B, P], size ids [B, 6]."""
        config, side = self.unet.config, size // latent_factor(self.vae)
        pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim

        def shaped(*shape: int, dtype: torch.dtype = self.unet.dtype) -> torch.Tensor:
            return torch.empty(shape, dtype=dtype, device="meta")

        return {
            "sample": shaped(batch, config.in_channels, side, side),
            "timestep": torch.zeros(batch, device="meta"),
            "encoder_hidden_states": shaped(batch, self.tokens, config.cross_attention_dim),
            "added_cond_kwargs": {
                "text_embeds": shaped(batch, pooled),
                "time_ids": shaped(batch, 6, dtype=torch.float32),
            },
        }

    @property
    def tokens(self) -> int:
        return int(self._encoders[0].config.max_position_embeddings)


@torch.no_grad()
def encoding_photo(vae: Any, size: int) -> int:
    """Bytes at work while a VAE of shapes encodes one photo of `size` pixels a side."""
    with flash_shapes(), LiveBytes(weights_of(vae)) as counted:
        posterior = vae.encode(torch.empty(1, 3, size, size, device="meta")).latent_dist
        del posterior
    return counted.peak


@torch.no_grad()
def decoding(vae: Any, size: int, tiling: bool) -> int:
    """Bytes at work while a VAE of shapes decodes one picture of `size` pixels a side."""
    side = size // latent_factor(vae)
    with flash_shapes(), in_tiles(vae, tiling), LiveBytes(weights_of(vae)) as counted:
        vae.decode(torch.empty(1, vae.config.latent_channels, side, side, device="meta"), return_dict=False)
    return counted.peak


def weights_of(part: torch.nn.Module) -> list[torch.Tensor]:
    """The tensors that a part of a base keeps where it is, in fewer bits or not."""
    return [*part.parameters(), *part.buffers()]


def weight_bytes(part: torch.nn.Module) -> int:
    return sum(weight.nbytes for weight in weights_of(part))
