"""Training pictures with their captions, sizes and labels, drawn once and kept in shards on disk.

Shard k depends on k alone. Held-out individuals are in none.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from coeffdream.records.files import replacing, write_json
from coeffdream.toybox.world.grammar import describe
from coeffdream.toybox.world.names import ACCESSORIES, BACKGROUNDS, COLOURS, PATTERNS, SUBJECTS
from coeffdream.toybox.world.scene import Scene, render, sample_scene

SIDE = 64
SHARD = 4096
CAPTIONS = 3  # of each picture
LABELS = (
    "subject",
    "background",
    "background_colour",
    "colour",
    "second",
    "pattern",
    "accessory",
    "accessory_colour",
)
CLASSES = {
    "subject": len(SUBJECTS),
    "background": len(BACKGROUNDS),
    "background_colour": len(COLOURS) + 1,
    "colour": len(COLOURS),
    "second": len(COLOURS),
    "pattern": len(PATTERNS),
    "accessory": len(ACCESSORIES) + 1,
    "accessory_colour": len(COLOURS) + 1,
}


def labels_of(scene: Scene) -> list[int]:
    """Class indices in the order of LABELS; 0 is "none" where a thing may be absent."""
    one = scene.individual
    return [
        SUBJECTS.index(one.subject),
        BACKGROUNDS.index(scene.background),
        COLOURS.index(scene.background_name) + 1 if scene.background_name else 0,
        COLOURS.index(one.body_name),
        COLOURS.index(one.second_name),
        PATTERNS.index(one.pattern),
        ACCESSORIES.index(scene.accessory) + 1 if scene.accessory else 0,
        COLOURS.index(scene.accessory_name) + 1 if scene.accessory_name else 0,
    ]


def framed(scene: Scene, rng: np.random.Generator) -> tuple[Image.Image, list[int]]:
    """A training picture and its SDXL size ids (original height and width, crop top and left, target height and
    width): mostly the plain square, at times a crop, a blown-up small original, or a large original."""
    kind = rng.choice(4, p=(0.6, 0.1, 0.12, 0.18))
    if kind == 0:
        return render(scene, SIDE), [SIDE, SIDE, 0, 0, SIDE, SIDE]
    if kind == 1:
        size = int(rng.integers(SIDE + 2, SIDE + 25))
        top, left = (int(value) for value in rng.integers(0, size - SIDE + 1, 2))
        picture = render(scene, size).crop((left, top, left + SIDE, top + SIDE))
        return picture, [size, size, top, left, SIDE, SIDE]
    if kind == 2:
        size = int(rng.integers(24, SIDE - 7))
        return render(scene, size).resize((SIDE, SIDE), Image.Resampling.BICUBIC), [
            size,
            size,
            0,
            0,
            SIDE,
            SIDE,
        ]
    size = round(SIDE * 2 ** float(rng.uniform(0.1, 4.0)))
    return render(scene, SIDE), [size, size, 0, 0, SIDE, SIDE]


@dataclass
class Shard:
    """pixels uint8 [n, 3, 64, 64]; labels and sizes int64 [n, 8] and [n, 6]; captions n lists of CAPTIONS."""

    pixels: torch.Tensor
    labels: torch.Tensor
    sizes: torch.Tensor
    captions: list[list[str]]


def draw_shard(index: int, count: int = SHARD) -> Shard:
    pixels, labels, sizes, captions = [], [], [], []
    for item in range(count):
        rng = np.random.default_rng((7, index, item))
        scene = sample_scene(rng)
        picture, size = framed(scene, rng)
        pixels.append(np.asarray(picture).transpose(2, 0, 1))
        labels.append(labels_of(scene))
        sizes.append(size)
        captions.append([describe(scene, rng) for _ in range(CAPTIONS)])
    return Shard(
        torch.from_numpy(np.stack(pixels)).contiguous(), torch.tensor(labels), torch.tensor(sizes), captions
    )


def shard(out: Path, index: int, count: int = SHARD) -> Shard:
    """Shard `index`, from the disk if it was drawn before."""
    import json

    path = out / "shards" / f"{index:04d}-{count}.safetensors"
    words = path.with_suffix(".json")
    if path.exists() and words.exists():
        tensors = load_file(path)
        return Shard(
            tensors["pixels"],
            tensors["labels"],
            tensors["sizes"],
            json.loads(words.read_text(encoding="utf-8")),
        )
    drawn = draw_shard(index, count)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(words, drawn.captions)
    with replacing(path) as temporary:
        save_file({"pixels": drawn.pixels, "labels": drawn.labels, "sizes": drawn.sizes}, temporary)
    return drawn


def shards(out: Path, first: int, count: int, size: int = SHARD) -> Shard:
    """`count` shards from `first`, as one."""
    parts = [shard(out, index, size) for index in range(first, first + count)]
    return Shard(
        torch.cat([part.pixels for part in parts]),
        torch.cat([part.labels for part in parts]),
        torch.cat([part.sizes for part in parts]),
        [caption for part in parts for caption in part.captions],
    )


def normalised(pixels: torch.Tensor) -> torch.Tensor:
    """uint8 to [-1, 1]."""
    return pixels.float() / 127.5 - 1.0
