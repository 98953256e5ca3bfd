"""The closed lists that the world is made of, and the colours behind the colour names."""

from __future__ import annotations

import numpy as np

Colour = tuple[int, int, int]

SUBJECTS = ("cat", "dog", "teddy", "duck", "robot", "teapot", "backpack", "sneaker", "car", "clock")
# Only what has a face can wear something.
FACED = ("cat", "dog", "teddy", "duck", "robot")
PATTERNS = ("plain", "striped", "spotted", "dipped")
ACCESSORIES = ("hat", "crown", "scarf", "glasses", "bow tie")
BACKGROUNDS = (
    "snow",
    "jungle",
    "beach",
    "city",
    "grass",
    "night",
    "desert",
    "water",
    "room",
    "mountains",
    "backdrop",  # a plain sampler wall; the only background that has a colour of its own
)
PALETTE: dict[str, Colour] = {
    "red": (214, 40, 40),
    "orange": (240, 134, 30),
    "yellow": (245, 210, 50),
    "green": (52, 150, 70),
    "blue": (45, 95, 210),
    "purple": (128, 60, 170),
    "pink": (245, 140, 180),
    "brown": (125, 78, 45),
    "black": (42, 42, 48),
    "white": (242, 242, 240),
    "gray": (140, 145, 150),
}
COLOURS = tuple(PALETTE)


def shade_of(name: str, rng: np.random.Generator, spread: float = 12.0) -> Colour:
    """One shade that a person would still call `name`."""
    jitter = rng.normal(0.0, spread, 3) * 0.5 + rng.normal(0.0, spread)
    red, green, blue = np.clip(np.asarray(PALETTE[name]) + np.clip(jitter, -30, 30), 8, 250)
    return int(red), int(green), int(blue)


def mixed(first: Colour, second: Colour, share: float) -> Colour:
    """`share` of `second` in `first`."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def darker(colour: Colour, share: float = 0.55) -> Colour:
    return mixed(colour, (12, 10, 20), share)


def lighter(colour: Colour, share: float = 0.4) -> Colour:
    return mixed(colour, (255, 255, 255), share)
