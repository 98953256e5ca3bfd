"""The UNet as it draws a set: what was learned folded into it, its blocks compiled, its passes replayed, as was asked."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from coeffdream.backbones.compiled import settle, take_back
from coeffdream.backbones.load import Components
from coeffdream.backbones.replay import replaying
from coeffdream.backbones.sampling import Sampling, initial_latents
from coeffdream.config import Compile
from coeffdream.generation.adapted import PutOn
from coeffdream.generation.folding import folded
from coeffdream.progress import Progress

SDXL_SIZE_IDS = 6


@contextlib.contextmanager
def at_work(
    components: Components,
    fold: PutOn | None,
    compiling: Compile,
    idle: bool,
    sampling: Sampling,
    batch: int,
    progress: Progress,
    warn: Callable[[str], None],
) -> Iterator[bool]:
    """In the block the UNet draws `batch` pictures at a time in the fastest way asked for; whether its blocks are compiled.

    A batch of another size is drawn as written, which is sooner done than compiled. idle: nothing is to be drawn, and
    nothing made ready for it. Raises ConfigError for what cannot be folded, or compiled.
    """
    if idle:
        yield compiling == "on"
        return
    unet = components.unet

    def seconds(way: str, count: int) -> list[float]:
        return _seconds(components, sampling, batch, count, lambda done: progress(way, done, count, ""))

    with folded(unet, fold, warn) if fold else contextlib.nullcontext():
        compiled = settle(unet, compiling, seconds, "drawing", warn)
        stance = torch.compiler.set_stance("eager_on_recompile") if compiled else contextlib.nullcontext()
        try:
            with stance, replaying(components, warn):
                yield compiled
        finally:
            if compiled:
                take_back(unet)


@torch.no_grad()
def _seconds(
    components: Components, sampling: Sampling, batch: int, count: int, tell: Callable[[int], None]
) -> list[float]:
    """Of each of `count` passes, as diffusers' pipeline makes them."""
    unet: Any = components.unet
    unet.eval()
    places = 2 * batch if sampling.guidance_scale > 1 else batch
    latents = initial_latents(components, [0], sampling.size).expand(places, -1, -1, -1).contiguous()
    config = unet.config
    pooled = config.projection_class_embeddings_input_dim - SDXL_SIZE_IDS * config.addition_time_embed_dim
    tokens = components.tokenizer.model_max_length
    given = {
        "encoder_hidden_states": latents.new_zeros(places, tokens, config.cross_attention_dim),
        "added_cond_kwargs": {
            "text_embeds": latents.new_zeros(places, pooled),
            "time_ids": latents.new_zeros(places, SDXL_SIZE_IDS),
        },
    }
    timestep = torch.tensor(500, device=components.device)
    spent = []
    with components.at_work("unet"), replaying(components):
        for number in range(count):
            began = time.perf_counter()
            [predicted] = unet(latents, timestep, **given, return_dict=False)
            predicted.flatten()[0].item()  # a card has ended, too
            spent.append(time.perf_counter() - began)
            tell(number + 1)
    return spent
