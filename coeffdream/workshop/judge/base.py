"""What the untouched base is worth: the share of captions whose wish the judge finds fulfilled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from coeffdream.backbones.base import read_settings
from coeffdream.toybox.world.grammar import describe
from coeffdream.toybox.world.names import ACCESSORIES, BACKGROUNDS, COLOURS, PATTERNS, SUBJECTS
from coeffdream.toybox.world.scene import sample_scene
from coeffdream.toybox.world.wish import Wish


def fulfilled(read: dict[str, list[int]], wishes: list[Wish]) -> dict[str, tuple[int, int]]:
    """Per kind of wish: how many were seen fulfilled, of how many asked."""
    options: dict[str, list[str | None]] = {
        "subject": [*SUBJECTS],
        "background": [*BACKGROUNDS],
        "colour": [*COLOURS],
        "accessory": [None, *ACCESSORIES],
        "pattern": [*PATTERNS],
    }
    counts = {}
    for kind, names in options.items():
        pairs = [(names[seen], getattr(wish, kind)) for seen, wish in zip(read[kind], wishes, strict=True)]
        asked = [(seen, wanted) for seen, wanted in pairs if wanted is not None]
        counts[kind] = (sum(seen == wanted for seen, wanted in asked), len(asked))
    return counts


def painted(
    weights: Path, captions: list[str], seed: int, device: str = "cpu", batch: int = 50
) -> torch.Tensor:
    """One picture per caption by the plain diffusers pipeline at the base's recommended settings."""
    from diffusers import StableDiffusionXLPipeline

    settings = read_settings(weights)
    pipeline = StableDiffusionXLPipeline.from_pretrained(weights).to(device)
    pipeline.set_progress_bar_config(disable=True)
    pages = []
    for start in range(0, len(captions), batch):
        part = captions[start : start + batch]
        images = pipeline(
            part,
            num_inference_steps=settings.sampling_steps,
            guidance_scale=settings.guidance_scale,
            height=settings.resolution,
            width=settings.resolution,
            generator=[torch.Generator().manual_seed(seed + start + index) for index in range(len(part))],
            output_type="pt",
        ).images
        pages.append(images.float().cpu() * 2 - 1)
    return torch.cat(pages)


def grammar_captions(count: int) -> list[str]:
    """Captions of scenes that no training drew."""
    captions = []
    for index in range(count):
        rng = np.random.default_rng((13, index))
        captions.append(describe(sample_scene(rng), rng))
    return captions
