"""The individuals of concepts/: held out of all training, each shown in five pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from coeffdream.records.files import replacing, write_text
from coeffdream.toybox.world.individual import Individual, sample_individual
from coeffdream.toybox.world.names import PALETTE
from coeffdream.toybox.world.scene import Scene, compose, render, silhouette
from coeffdream.toybox.world.wish import Wish

PHOTO_SIDE = 256
PHOTOS = 5
# DreamBooth's line: real animals are live, toys and things are objects.
LIVE_SUBJECTS = ("cat", "dog", "duck")
_PLACES = ("room", "grass", "backdrop", "beach", "city", "mountains")


@dataclass(frozen=True)
class ToyConcept:
    name: str
    individual: Individual

    @property
    def live(self) -> bool:
        return self.individual.subject in LIVE_SUBJECTS

    def scenes(self) -> list[Scene]:
        """The five photos: five places, the individual always the same."""
        seed = [ord(letter) for letter in self.name]
        rng = np.random.default_rng(seed)
        places = rng.permutation(_PLACES)[:PHOTOS]
        wishes = [Wish(background=str(place), background_colour="gray") for place in places]
        return [compose(wish, rng, self.individual, jitter=1.5) for wish in wishes]


def _concept(
    name: str, body: str, second: str, pattern: str, shape: tuple[float, float, float], phase: float
) -> ToyConcept:
    subject = name.rstrip("0123456789")
    return ToyConcept(
        name, Individual(subject, body, second, PALETTE[body], PALETTE[second], pattern, shape, phase)
    )


CONCEPTS: tuple[ToyConcept, ...] = (
    _concept("cat", "orange", "white", "striped", (0.9, 0.3, 0.7), 0.3),
    _concept("cat2", "gray", "pink", "spotted", (0.2, 0.9, 0.2), 0.6),
    _concept("dog", "brown", "white", "dipped", (0.3, 0.9, 0.8), 0.5),
    _concept("dog2", "white", "black", "spotted", (0.7, 0.4, 0.4), 0.2),
    _concept("duck", "yellow", "green", "plain", (0.7, 0.6, 0.8), 0.1),
    _concept("teddy", "purple", "yellow", "plain", (0.6, 0.8, 0.6), 0.4),
    _concept("robot", "blue", "orange", "striped", (0.8, 0.5, 0.6), 0.7),
    _concept("teapot", "pink", "blue", "spotted", (0.7, 0.6, 0.5), 0.4),
    _concept("backpack", "red", "yellow", "dipped", (0.5, 0.6, 0.3), 0.2),
    _concept("sneaker", "green", "purple", "striped", (0.4, 0.8, 0.7), 0.8),
    _concept("car", "red", "white", "striped", (0.3, 0.8, 0.6), 0.5),
    _concept("clock", "blue", "red", "plain", (0.5, 0.9, 0.5), 0.84),
)


def other_concepts(subjects: Sequence[str], seed: int = 0) -> tuple[ToyConcept, ...]:
    """Individuals that are not shipped, one of each subject: to choose settings on, so that concepts/ can judge them."""
    rng = np.random.default_rng((23, seed))
    return tuple(ToyConcept(f"other-{subject}", sample_individual(rng, subject)) for subject in subjects)


def write_concepts(folder: Path, concepts: Sequence[ToyConcept] = CONCEPTS) -> None:
    """One folder per concept: 00.png to 04.png, their masks 00.mask.png to 04.mask.png, and concept.toml."""
    for concept in concepts:
        for index, scene in enumerate(concept.scenes()):
            for name, draw in ((f"{index:02d}.png", render), (f"{index:02d}.mask.png", silhouette)):
                with replacing(folder / concept.name / name) as temporary:
                    draw(scene, PHOTO_SIDE).save(temporary, optimize=True)
        live = "true" if concept.live else "false"
        write_text(
            folder / concept.name / "concept.toml", f'class = "{concept.individual.subject}"\nlive = {live}\n'
        )
