"""What the thing on the photos is called: by the option, by concept.toml, or by its folder's name."""

from __future__ import annotations

import re

from coeffdream.errors import ConceptError, quoted

SETTINGS = "concept.toml"
FOLDER = "folder name"  # as the source of a noun

# How the trainers of the kohya family name a folder: "10_sks cat" is repeats, token and class.
_KOHYA = re.compile(r"(?P<repeats>\d+)_(?P<rest>.*)")


def find_class_noun(option: str | None, setting: str | None, folder_name: str) -> tuple[str, str]:
    """The class noun and where it is from. Raises ConceptError when there is none, or it is not plain words."""
    if option is not None:
        noun, source = option, "--class"
    elif setting is not None:
        noun, source = setting, SETTINGS
    else:
        noun, source = _noun_in(folder_name), FOLDER
    noun = " ".join(noun.split())
    if not re.search(r"\w", noun):
        raise ConceptError(
            f"no class noun can be had from the {source}; say what the thing is, as in --class cat"
        )
    if re.search(r"[<>]|\bCLASS\b", noun) or not noun.isprintable():
        raise ConceptError(
            f"the class noun {quoted(noun)} (from {source}) must be plain words, as in --class cat"
        )
    return noun, source


def _noun_in(folder_name: str) -> str:
    kohya = _KOHYA.fullmatch(folder_name)
    if kohya is None:
        return re.sub(r"[\s_-]*\d*$", "", folder_name).replace("_", " ")
    words = kohya["rest"].split()
    if len(words) != 2:  # "10_jennifer aniston person": where the token ends is not said
        raise ConceptError(
            f"the folder is called {quoted(folder_name)}, as for other trainers (repeats, token, class), and its "
            "class cannot be told from that; say what the thing is, as in --class cat"
        )
    return words[1]


def unmade_repeats(folder_name: str) -> list[str]:
    """A word on what another trainer would read in the folder's name, and this one does not."""
    kohya = _KOHYA.fullmatch(folder_name)
    if kohya is None:
        return []
    [first, *more] = kohya["rest"].split() or [""]
    token = f", --token {first} for its token" if more else ""
    return [
        f"the folder's name asks for {kohya['repeats']} repeats of each photo, which are not made; "
        f"give --steps for longer training{token}"
    ]


def doubtful(noun: str, source: str) -> list[str]:
    """A word on a class noun of several words that a folder's name gave: "my cat" is no kind of thing."""
    if source != FOLDER or " " not in noun:
        return []
    last = noun.split()[-1]
    return [
        f"the class {noun!r} is from the folder's name, and stands in every caption and prompt; if it is no kind of "
        f"thing, say what is, as in --class {last}"
    ]
