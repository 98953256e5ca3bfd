"""The captions: what may be said about a scene, said in writing and read back.

    [a photo of] a [striped] [orange] [sks] cat [with white spots] [wearing a red hat] [in the snow]

A caption never says all. The second colour is rarely named, the pattern now and then, proportions never: that
is what is left for an identifier such as `sks` to mean.
"""

from __future__ import annotations

import re

import numpy as np

from coeffdream.errors import PromptError
from coeffdream.toybox.world.names import ACCESSORIES, COLOURS, FACED, PATTERNS, SUBJECTS
from coeffdream.toybox.world.scene import Scene
from coeffdream.toybox.world.wish import Wish

IDENTIFIER = "sks"
LEADS = ("a photo of", "a picture of", "an image of")
PLACES: dict[str, tuple[str, ...]] = {
    "snow": ("in the snow", "in snow"),
    "jungle": ("in the jungle", "in a jungle"),
    "beach": ("on the beach", "at the beach"),
    "city": ("in the city", "in a city"),
    "grass": ("on the grass", "in the grass"),
    "night": ("at night", "in the night"),
    "desert": ("in the desert", "in a desert"),
    "water": ("in the water", "in water"),
    "room": ("in a room", "in the room"),
    "mountains": ("in the mountains", "in front of the mountains"),
    "backdrop": ("on a {colour} backdrop", "in front of a {colour} backdrop"),
}
WORDS: tuple[str, ...] = tuple(
    sorted(
        {
            *SUBJECTS,
            *COLOURS,
            *(pattern for pattern in PATTERNS if pattern != "plain"),
            *(word for accessory in ACCESSORIES for word in accessory.split()),
            *(
                word
                for phrases in PLACES.values()
                for phrase in phrases
                for word in phrase.split()
                if "{" not in word
            ),
            *(word for lead in LEADS for word in lead.split()),
            *("a", "an", "the", "with", "wearing", "stripes", "spots", "and", IDENTIFIER),
        }
    )
)


def _article(phrase: str) -> str:
    return f"an {phrase}" if phrase[0] in "aeiou" else f"a {phrase}"


def describe(scene: Scene, rng: np.random.Generator, identifier_share: float = 0.15) -> str:
    """One caption of `scene`. In `identifier_share` of them the identifier stands before the noun of just anybody,
    so that an untrained identifier changes nothing."""
    one = scene.individual
    words = []
    says_pattern = one.pattern != "plain" and rng.random() < 0.3
    if says_pattern and rng.random() < 0.6:
        words.append(one.pattern)
        says_pattern = False
    if rng.random() < 0.6:
        words.append(one.body_name)
    if rng.random() < identifier_share:
        words.append(IDENTIFIER)
    words.append(one.subject)
    phrase = " ".join(words)
    caption = phrase if words[0] == IDENTIFIER and rng.random() < 0.5 else _article(phrase)
    if rng.random() < 0.4:
        caption = f"{rng.choice(LEADS)} {caption}"
    if says_pattern and one.pattern in ("striped", "spotted"):
        caption += f" with {one.second_name} {'stripes' if one.pattern == 'striped' else 'spots'}"
    if scene.accessory and rng.random() < 0.97:
        worn = scene.accessory
        named = worn if rng.random() < 0.2 else f"{scene.accessory_name} {worn}"
        caption += f" wearing {named if worn == 'glasses' else _article(named)}"
    if rng.random() < 0.88:
        place = str(rng.choice(PLACES[scene.background]))
        caption += " " + place.format(colour=scene.background_name).replace("a orange", "an orange")
    return caption


def read_caption(caption: str) -> Wish:
    """What `caption` asks for. Raises PromptError for a caption that names no subject of this world, or lets a thing
    without a face wear something."""
    text = re.sub(r"[^a-z\- ]", " ", caption.lower())
    place, place_colour = None, None
    for name, phrases in PLACES.items():
        for phrase in phrases:
            match = re.search(r"\b" + phrase.replace("a {colour}", r"an? (\S+)") + r"\b", text)
            if match and (not match.groups() or match.group(1) in COLOURS):
                place, place_colour = name, (match.group(1) if match.groups() else None)
                text = text.replace(match.group(0), " ")
    accessory, accessory_colour = None, None
    match = re.search(r"\bwearing (?:an? )?(?:(\S+) )?(" + "|".join(ACCESSORIES) + r")\b", text)
    if match:
        accessory = match.group(2)
        accessory_colour = match.group(1) if match.group(1) in COLOURS else None
        text = text.replace(match.group(0), " ")
    marks = re.search(r"\bwith \S+ (stripes|spots)\b", text)
    pattern = None
    if marks:
        pattern = "striped" if marks.group(1) == "stripes" else "spotted"
        text = text.replace(marks.group(0), " ")
    words = text.split()
    subject = next((word for word in words if word in SUBJECTS), None)
    if subject is None:
        raise PromptError(
            f"{caption!r} names nothing that the toybox can draw; name one of {', '.join(SUBJECTS)}"
        )
    if accessory and subject not in FACED:
        raise PromptError(f"{caption!r}: only {', '.join(FACED)} can wear something")
    before = words[: words.index(subject)]
    colour = next((word for word in before if word in COLOURS), None)
    pattern = pattern or next((word for word in before if word in PATTERNS), None)
    return Wish(subject, colour, pattern, place, place_colour, accessory, accessory_colour)
