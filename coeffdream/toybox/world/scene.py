"""A scene: one individual somewhere, with its framing; and its rendering."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from coeffdream.toybox.world.accessories import wear
from coeffdream.toybox.world.backgrounds import Canvas, paint
from coeffdream.toybox.world.individual import Individual, sample_individual
from coeffdream.toybox.world.names import ACCESSORIES, BACKGROUNDS, COLOURS, Colour, shade_of
from coeffdream.toybox.world.pen import Pen
from coeffdream.toybox.world.subjects import DRAWN
from coeffdream.toybox.world.wish import Wish

_OVERSAMPLING = 4


@dataclass(frozen=True)
class Scene:
    """`x`, `y` and `scale` place the subject (shares of the side); `seed` draws the details of the background."""

    individual: Individual
    background: str
    seed: int
    background_name: str | None = None
    background_colour: Colour | None = None
    accessory: str | None = None
    accessory_name: str | None = None
    accessory_colour: Colour | None = None
    x: float = 0.0
    y: float = 0.0
    scale: float = 1.0


def compose(
    wish: Wish, rng: np.random.Generator, individual: Individual | None = None, jitter: float = 1.0
) -> Scene:
    """A scene that grants `wish`; what the wish leaves open is drawn. `individual`, if given, is shown as it is."""
    one = individual or sample_individual(rng, wish.subject, wish.colour, wish.pattern)
    background = wish.background or str(rng.choice(BACKGROUNDS))
    name = colour = worn_name = worn = None
    if background == "backdrop":
        name = wish.background_colour or str(rng.choice(COLOURS))
        colour = shade_of(name, rng)
    if wish.accessory:
        worn_name = wish.accessory_colour or str(rng.choice(COLOURS))
        worn = shade_of(worn_name, rng)
    return Scene(
        one,
        background,
        int(rng.integers(2**31)),
        name,
        colour,
        wish.accessory,
        worn_name,
        worn,
        x=float(rng.uniform(-0.03, 0.03)) * jitter,
        y=float(rng.uniform(-0.02, 0.02)) * jitter,
        scale=1.0 + float(rng.uniform(-0.05, 0.07)) * jitter,
    )


def sample_scene(rng: np.random.Generator) -> Scene:
    """One training scene: an individual that is in no concept folder, anywhere, now and then wearing something."""
    one = sample_individual(rng)
    wears = one.faced and rng.random() < 0.4
    places = np.array([1.0] * (len(BACKGROUNDS) - 1) + [1.6])
    wish = Wish(
        subject=one.subject,
        background=str(rng.choice(BACKGROUNDS, p=places / places.sum())),
        accessory=str(rng.choice(ACCESSORIES)) if wears else None,
    )
    return compose(wish, rng, one)


def render(scene: Scene, height: int = 64, width: int | None = None) -> Image.Image:
    """`scene` as an antialiased RGB picture, the same bytes for the same arguments. A wider picture shows more
    of the background at both sides; the subject keeps its size and stays in the middle."""
    width = width or height
    canvas = Canvas(width * _OVERSAMPLING, height * _OVERSAMPLING)
    paint(canvas, scene.background, scene.background_colour, np.random.default_rng(scene.seed))
    _draw_subject(canvas.image, scene)
    return canvas.image.reduce(_OVERSAMPLING)


def silhouette(scene: Scene, height: int = 64, width: int | None = None) -> Image.Image:
    """The subject of `scene`, with what it wears, as `render` places it: mode L, 255 where it is, antialiased."""
    size = (width or height) * _OVERSAMPLING, height * _OVERSAMPLING
    # What is drawn covers whatever is below it, so it is where black and white paper come out alike.
    papers = [Image.new("RGB", size, paper) for paper in ("black", "white")]
    for paper in papers:
        _draw_subject(paper, scene)
    on_black, on_white = (np.asarray(paper) for paper in papers)
    return Image.fromarray(np.where((on_black == on_white).all(-1), 255, 0).astype(np.uint8)).reduce(
        _OVERSAMPLING
    )


def _draw_subject(image: Image.Image, scene: Scene) -> None:
    """Draw the subject on `image`, of _OVERSAMPLING times the picture's size."""
    side = image.height
    centre = image.width / 2
    pen = Pen(image, centre + scene.x * side, (0.54 + scene.y) * side, 0.42 * scene.scale * side)
    anchors = DRAWN[scene.individual.subject](pen, scene.individual)
    if scene.accessory:
        if anchors is None or scene.accessory_colour is None:
            raise ValueError(f"a {scene.individual.subject} cannot wear a {scene.accessory}")
        wear(pen, scene.accessory, scene.accessory_colour, anchors)
