"""What `study vit` learns from: scenes of the drawn world, scikit-learn's real digits, or a folder of pictures.

Every picture of the drawn world is a function of (task, split, number) alone. All are kept as bytes, [3, S, S]; the
backbone's own mean and deviation come in when a batch is made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset, Subset, TensorDataset

from coeffdream.diffusion.noise import generator_for
from coeffdream.errors import ConfigError, UserError, listed, quoted
from coeffdream.progress import Progress
from coeffdream.toybox.world import Scene, compose, render, sample_scene, silhouette
from coeffdream.toybox.world.names import BACKGROUNDS, COLOURS, SUBJECTS
from coeffdream.toybox.world.wish import Wish

Drawn = tuple[Image.Image, int]

# Where up to four subjects stand, in shares of the side, and how large each is.
PLACES = ((-0.25, -0.27), (0.25, -0.27), (-0.25, 0.2), (0.25, 0.2))
SMALL = 0.5
TURNS = ("upright", "quarter to the left", "upside down", "quarter to the right")
DIGITS_TO_LEARN = 1000  # of 1,797; the others measure


@dataclass(frozen=True)
class Task:
    """Pictures as (uint8 [3, S, S], label), to learn from and to measure on."""

    name: str
    classes: tuple[str, ...]
    train: Dataset[Any]
    test: Dataset[Any]


def _kind(rng: np.random.Generator, side: int) -> Drawn:
    scene = sample_scene(rng)
    return render(scene, side), SUBJECTS.index(scene.individual.subject)


def _color(rng: np.random.Generator, side: int) -> Drawn:
    scene = sample_scene(rng)
    return render(scene, side), COLOURS.index(scene.individual.body_name)


def _place(rng: np.random.Generator, side: int) -> Drawn:
    scene = sample_scene(rng)
    return render(scene, side), BACKGROUNDS.index(scene.background)


def _count(rng: np.random.Generator, side: int) -> Drawn:
    """One to four subjects on one background, each at a place of its own."""
    count = int(rng.integers(1, len(PLACES) + 1))
    background = str(rng.choice(BACKGROUNDS))
    places = rng.permutation(len(PLACES))[:count]
    return together(
        [placed(compose(Wish(background=background), rng), place) for place in places], side
    ), count - 1


def together(scenes: Sequence[Scene], side: int) -> Image.Image:
    """The subjects of all scenes before the background of the first."""
    first, *others = scenes
    picture = render(first, side)
    for scene in others:
        picture = Image.composite(render(scene, side), picture, silhouette(scene, side))
    return picture


def placed(scene: Scene, place: int) -> Scene:
    """Its subject small, at one of PLACES."""
    x, y = PLACES[place]
    return replace(scene, x=scene.x + x, y=scene.y + y, scale=scene.scale * SMALL)


def _orientation(rng: np.random.Generator, side: int) -> Drawn:
    turns = int(rng.integers(len(TURNS)))
    return render(sample_scene(rng), side).rotate(90 * turns), turns


# What is asked of a picture of the drawn world, and its answers. `kind` is what the small backbone is pretrained on.
WORLD: dict[str, tuple[tuple[str, ...], Callable[[np.random.Generator, int], Drawn]]] = {
    "kind": (SUBJECTS, _kind),
    "color": (COLOURS, _color),
    "count": (tuple(str(number + 1) for number in range(len(PLACES))), _count),
    "orientation": (TURNS, _orientation),
    "place": (BACKGROUNDS, _place),
}


def world_task(name: str, side: int, train: int, test: int, progress: Progress) -> Task:
    """So many pictures of the drawn world, each of `side` pixels."""
    classes, draw = WORLD[name]

    def part(split: str, count: int, before: int) -> TensorDataset:
        drawn = []
        for number in range(count):
            rng = np.random.default_rng(list(f"vit {name} {split} {number}".encode()))
            drawn.append(draw(rng, side))
            progress(f"drawing {name}", before + number + 1, train + test, "")
        return _dataset([picture for picture, _ in drawn], [label for _, label in drawn])

    return Task(name, classes, part("train", train, 0), part("test", test, train))


def _dataset(pictures: list[Image.Image], labels: list[int]) -> TensorDataset:
    pixels = np.stack([np.asarray(picture.convert("RGB")) for picture in pictures])
    return TensorDataset(torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), torch.tensor(labels))


def digits_task(side: int, train: int, test: int) -> Task:
    """scikit-learn's handwritten digits, 8 x 8 pixels made larger. Raises UserError where it is not installed."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise UserError(
            "the digits come with scikit-learn, which is not installed; pip install scikit-learn, or leave digits out "
            "of --tasks"
        ) from None
    if train > DIGITS_TO_LEARN:
        raise ConfigError(
            f"--train-images {train}: of the digits {DIGITS_TO_LEARN:,} are there to learn from; ask for no more, or leave "
            "digits out of --tasks"
        )
    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(images), generator=generator_for(0, "vit-digits")).numpy()
    pixels = np.round(images.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)

    def part(chosen: np.ndarray) -> TensorDataset:
        shown = [Image.fromarray(pixels[i]).resize((side, side), Image.Resampling.BICUBIC) for i in chosen]
        return _dataset(shown, [int(labels[i]) for i in chosen])

    return Task(
        "digits",
        tuple(map(str, range(10))),
        part(order[:train]),
        part(order[DIGITS_TO_LEARN:][:test]),
    )


def folder_task(folder: Path, side: int, train: int, test: int) -> Task:
    """A folder's train/CLASS/ and test/CLASS/, each picture's middle square. Raises ConfigError for any other folder."""
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    resized = v2.Compose(
        [
            v2.RGB(),
            v2.Resize(side, interpolation=v2.InterpolationMode.BICUBIC),
            v2.CenterCrop(side),
            v2.PILToTensor(),
        ]
    )
    parts: dict[str, ImageFolder] = {}
    for split in ("train", "test"):
        if not (folder / split).is_dir():
            raise ConfigError(f"--data {folder} has no {split}/; a data set has train/CLASS/ and test/CLASS/")
        try:
            parts[split] = ImageFolder(str(folder / split), transform=resized)
        except FileNotFoundError as error:
            raise ConfigError(f"--data {folder / split}: {' '.join(str(error).split())}") from None
    classes = parts["train"].classes
    if len(classes) < 2:
        raise ConfigError(
            f"--data {folder / 'train'} has one class, {quoted(classes[0])}; there is nothing to tell it from"
        )
    if odd := sorted(set(classes) ^ set(parts["test"].classes)):
        raise ConfigError(f"--data {folder}: train/ and test/ differ in their classes: {listed(odd)}")

    def some(split: str, count: int) -> Subset[Any]:
        order = torch.randperm(len(parts[split]), generator=generator_for(0, f"vit-{split}"))
        return Subset(parts[split], order[:count].tolist())

    return Task(folder_name(folder), tuple(classes), some("train", train), some("test", test))


def folder_name(folder: str | Path) -> str:
    """What a task from a folder is called."""
    return Path(folder).resolve().name or "data"
