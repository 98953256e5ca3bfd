"""What `study vqa` asks: scenes of the drawn world with a thing once to four times, and questions with answers of a word or two.

The reported questions (color, count, where) are about pictures. A small backbone is pretrained on other questions about
other pictures, and on the reported ones about sentences, without a picture: so it knows every word, and what it has
to learn is to see what it could read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL.Image import Image

from coeffdream.progress import Progress
from coeffdream.studies.vit_pictures import placed, together
from coeffdream.studies.vqa_options import COLOR, COUNT, WHERE
from coeffdream.toybox.world import compose, sample_individual
from coeffdream.toybox.world.names import BACKGROUNDS, COLOURS, SUBJECTS
from coeffdream.toybox.world.wish import Wish

SIDE = 64
CORNERS = ("top left", "top right", "bottom left", "bottom right")  # of PLACES, in their order
NUMBERS = ("one", "two", "three", "four")
SHARES = (0.4, 0.2, 0.2, 0.2)  # of pictures with as many things


@dataclass(frozen=True)
class Question:
    """`picture`: its number among the pictures, None where the text alone holds the answer."""

    of: str
    text: str
    answer: str
    picture: int | None = None


@dataclass(frozen=True)
class Shown:
    """One picture, and what it shows: one to four of the same thing, each in a corner."""

    picture: Image
    subject: str
    color: str
    corners: tuple[str, ...]
    background: str


def scenes(split: str, count: int, progress: Progress) -> Iterator[tuple[Shown, np.random.Generator]]:
    """So many pictures, each a function of (split, number) alone, with the generator for what is asked about it."""
    for number in range(count):
        rng = np.random.default_rng(list(f"vqa {split} {number}".encode()))
        things = int(rng.choice([1, 2, 3, 4], p=SHARES))
        corners = [int(each) for each in rng.permutation(len(CORNERS))[:things]]
        one, background = sample_individual(rng), str(rng.choice(BACKGROUNDS))
        drawn = [placed(compose(Wish(background=background), rng, one), corner) for corner in corners]
        progress(f"drawing {split}", number + 1, count, "")
        named = tuple(CORNERS[corner] for corner in corners)
        yield Shown(together(drawn, SIDE), one.subject, one.body_name, named, background), rng


def reported(shown: Shown, picture: int | None) -> list[Question]:
    """Of which color the things are, how many there are, and of one alone where it is."""
    asked = [
        Question(COLOR, f"what color is the {shown.subject} ?", shown.color, picture),
        Question(
            COUNT, f"how many of the {shown.subject} are there ?", NUMBERS[len(shown.corners) - 1], picture
        ),
    ]
    if len(shown.corners) == 1:
        asked.append(Question(WHERE, f"where is the {shown.subject} ?", shown.corners[0], picture))
    return asked


def others(shown: Shown, rng: np.random.Generator, picture: int) -> list[Question]:
    """What it is, whether one is in a corner, and what is behind."""
    corner = str(rng.choice(CORNERS))
    return [
        Question("what", "what is it ?", shown.subject, picture),
        Question(
            "whether", f"is there one at the {corner} ?", "yes" if corner in shown.corners else "no", picture
        ),
        Question("behind", "what is behind ?", shown.background, picture),
    ]


def told(shown: Shown) -> str:
    """The things in words, one after the other."""
    return " . ".join(f"{shown.color} {shown.subject} {corner}" for corner in shown.corners)


def about_pictures(split: str, count: int, progress: Progress) -> tuple[list[Image], list[Question]]:
    """So many pictures and the reported questions about them."""
    pictures, questions = [], []
    for number, (shown, _) in enumerate(scenes(split, count, progress)):
        pictures.append(shown.picture)
        questions += reported(shown, number)
    return pictures, questions


def to_pretrain(count: int, progress: Progress) -> tuple[list[Image], list[Question]]:
    """So many pictures, the other questions about them, and the reported ones about what they show told in words."""
    pictures, questions = [], []
    for number, (shown, rng) in enumerate(scenes("pretrain", count, progress)):
        pictures.append(shown.picture)
        questions += others(shown, rng, number)
        sentence = told(shown)
        questions += [
            Question(f"read {each.of}", f"{sentence} . {each.text}", each.answer)
            for each in reported(shown, None)
        ]
    return pictures, questions


def words() -> list[str]:
    """Every word of the drawn world's questions and answers."""
    said = "what color is it the how many of are there where one at behind yes no ? ."
    return sorted({*said.split(), *COLOURS, *SUBJECTS, *BACKGROUNDS, *NUMBERS, *" ".join(CORNERS).split()})
