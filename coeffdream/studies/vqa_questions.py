"""What `study vqa` asks: scenes of the drawn world with one to four things, and questions with answers of a word or two.

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
from coeffdream.toybox.world import compose
from coeffdream.toybox.world.names import BACKGROUNDS, COLOURS, SUBJECTS
from coeffdream.toybox.world.wish import Wish

SIDE = 64
CORNERS = ("top left", "top right", "bottom left", "bottom right")  # of PLACES, in their order
NUMBERS = ("one", "two", "three", "four")


@dataclass(frozen=True)
class Question:
    """`picture`: its number among the pictures, None where the text alone holds the answer."""

    of: str
    text: str
    answer: str
    picture: int | None = None


@dataclass(frozen=True)
class Thing:
    """What stands in a corner."""

    subject: str
    color: str


@dataclass(frozen=True)
class Shown:
    """One picture, and what it shows: things by the number of their corner, no two of a kind."""

    picture: Image
    things: dict[int, Thing]
    background: str


def scenes(split: str, count: int, progress: Progress) -> Iterator[tuple[Shown, np.random.Generator]]:
    """So many pictures, each a function of (split, number) alone, with the generator for what is asked about it."""
    for number in range(count):
        rng = np.random.default_rng(list(f"vqa {split} {number}".encode()))
        things = int(rng.integers(1, len(CORNERS) + 1))
        subjects = [SUBJECTS[each] for each in rng.permutation(len(SUBJECTS))[:things]]
        corners = [int(each) for each in rng.permutation(len(CORNERS))[:things]]
        background = str(rng.choice(BACKGROUNDS))
        drawn = [compose(Wish(subject=subject, background=background), rng) for subject in subjects]
        picture = together(
            [placed(scene, corner) for scene, corner in zip(drawn, corners, strict=True)], SIDE
        )
        named = [Thing(scene.individual.subject, scene.individual.body_name) for scene in drawn]
        progress(f"drawing {split}", number + 1, count, "")
        yield Shown(picture, dict(zip(corners, named, strict=True)), background), rng


def reported(shown: Shown, rng: np.random.Generator, picture: int | None) -> list[Question]:
    """How many things there are, and of one of them color and place."""
    corner = int(rng.choice(list(shown.things)))
    thing = shown.things[corner]
    return [
        Question(COLOR, f"what color is the {thing.subject} ?", thing.color, picture),
        Question(COUNT, "how many things are there ?", NUMBERS[len(shown.things) - 1], picture),
        Question(WHERE, f"where is the {thing.subject} ?", CORNERS[corner], picture),
    ]


def others(shown: Shown, rng: np.random.Generator, picture: int) -> list[Question]:
    """What is in a corner, whether a thing is there, and what is behind."""
    corner = int(rng.integers(len(CORNERS)))
    there = [thing.subject for thing in shown.things.values()]
    absent = [subject for subject in SUBJECTS if subject not in there]
    asked = str(rng.choice(there if rng.random() < 0.5 else absent))
    found = shown.things.get(corner)
    return [
        Question(
            "what", f"what is at the {CORNERS[corner]} ?", found.subject if found else "nothing", picture
        ),
        Question("whether", f"is there a {asked} ?", "yes" if asked in there else "no", picture),
        Question("behind", "what is behind ?", shown.background, picture),
    ]


def told(shown: Shown, rng: np.random.Generator) -> str:
    """The things in words, in any order, with their colors and places."""
    order = rng.permutation(list(shown.things))
    return " . ".join(
        f"{shown.things[corner].color} {shown.things[corner].subject} {CORNERS[corner]}"
        for corner in map(int, order)
    )


def about_pictures(split: str, count: int, progress: Progress) -> tuple[list[Image], list[Question]]:
    """So many pictures and the reported questions about them."""
    pictures, questions = [], []
    for number, (shown, rng) in enumerate(scenes(split, count, progress)):
        pictures.append(shown.picture)
        questions += reported(shown, rng, number)
    return pictures, questions


def to_pretrain(count: int, progress: Progress) -> tuple[list[Image], list[Question]]:
    """So many pictures, the other questions about them, and the reported ones about what they show told in words."""
    pictures, questions = [], []
    for number, (shown, rng) in enumerate(scenes("pretrain", count, progress)):
        pictures.append(shown.picture)
        questions += others(shown, rng, number)
        sentence = told(shown, rng)
        questions += [
            Question(f"read {each.of}", f"{sentence} . {each.text}", each.answer)
            for each in reported(shown, rng, None)
        ]
    return pictures, questions


def words() -> list[str]:
    """Every word of the drawn world's questions and answers."""
    said = "what color is the how many things are there where at behind a nothing yes no ? ."
    return sorted({*said.split(), *COLOURS, *SUBJECTS, *BACKGROUNDS, *NUMBERS, *" ".join(CORNERS).split()})
