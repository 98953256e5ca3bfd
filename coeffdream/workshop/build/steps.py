"""`python -m coeffdream.workshop.build.steps`: how near few steps of a scheduler come to a hundred, on the shipped base."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import diffusers
import numpy as np
import torch
from diffusers import StableDiffusionXLPipeline
from PIL import Image

from coeffdream.backbones.base import read_settings
from coeffdream.metrics.encoder import Features
from coeffdream.metrics.encoder_choice import encoders_for
from coeffdream.metrics.encoders import Encoders
from coeffdream.metrics.features import unit_rows
from coeffdream.metrics.options import ScoringOptions
from coeffdream.toybox.paths import WEIGHTS
from coeffdream.workshop.build.unet import new_scheduler
from coeffdream.workshop.judge.base import grammar_captions

REFERENCE = ("DDIMScheduler", 100)
TRIED = (
    ("DDIMScheduler", 20),
    ("DDIMScheduler", 10),
    ("DPMSolverMultistepScheduler", 12),
    ("DPMSolverMultistepScheduler", 10),
    ("DPMSolverMultistepScheduler", 8),
    ("UniPCMultistepScheduler", 12),
    ("UniPCMultistepScheduler", 10),
    ("UniPCMultistepScheduler", 8),
)


def embedded() -> Encoders:
    return encoders_for("toybox", ScoringOptions())


def nearness(
    encoders: Encoders, pictures: Sequence[Image.Image], others: Sequence[Image.Image]
) -> tuple[float, float, float]:
    """Of pictures at the same places: mean cosine by DINO and by CLIP, and PSNR in dB over all pixels."""
    assert encoders.dino is not None
    assert encoders.clip is not None
    cosines = [_cosine(each.images(pictures), each.images(others)) for each in (encoders.dino, encoders.clip)]
    pixels, other_pixels = (
        np.stack([np.asarray(each, float) for each in some]) for some in (pictures, others)
    )
    error = float(np.square((pixels - other_pixels) / 255).mean())
    return cosines[0], cosines[1], float(-10 * np.log10(error)) if error else float("inf")


def _cosine(features: Features, others: Features) -> float:
    return float((unit_rows(features) * unit_rows(others)).sum(1).mean())


def drawn(
    pipeline: StableDiffusionXLPipeline, scheduler: str, steps: int, captions: list[str]
) -> list[Image.Image]:
    """The same noise for a caption whatever draws it."""
    pipeline.scheduler = getattr(diffusers, scheduler).from_config(new_scheduler().config)
    size = read_settings(WEIGHTS).resolution
    return list(
        pipeline(
            captions,
            num_inference_steps=steps,
            guidance_scale=read_settings(WEIGHTS).guidance_scale,
            height=size,
            width=size,
            generator=[torch.Generator().manual_seed(index) for index in range(len(captions))],
        ).images
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="coeffdream.workshop.build.steps", description=__doc__)
    parser.add_argument("--pictures", type=int, default=50)
    count = parser.parse_args().pictures
    pipeline = StableDiffusionXLPipeline.from_pretrained(WEIGHTS)
    pipeline.set_progress_bar_config(disable=True)
    captions, encoders = grammar_captions(count), embedded()
    reference = drawn(pipeline, *REFERENCE, captions)
    for scheduler, steps in TRIED:
        dino, clip, decibels = nearness(encoders, drawn(pipeline, scheduler, steps, captions), reference)
        print(
            f"{scheduler:28} {steps:3} steps   DINO {dino:.4f}   CLIP {clip:.4f}   PSNR {decibels:.1f} dB",
            flush=True,
        )


if __name__ == "__main__":
    main()
