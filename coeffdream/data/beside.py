"""What lies beside the photos of a concept: concept.toml and captions."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from coeffdream.data.class_noun import SETTINGS
from coeffdream.data.listing import is_text, leads_out
from coeffdream.data.prompts import PLACEHOLDER, placeholder_hint
from coeffdream.errors import MOST_LISTED, ConceptError, quoted
from coeffdream.records.reading import read_text
from coeffdream.records.settings import read_toml


def check_place(path: Path, folder: Path) -> None:
    """Raises ConceptError for a file of `folder` that is a link out of it, or whose name is no text."""
    if leads_out(path, folder):
        raise ConceptError(f"{path} is a link that leads out of the folder; copy the file there instead")
    if not is_text(path.name):
        raise ConceptError(f"the name of {quoted(path.name)} is not UTF-8 text; rename the file")


def concept_settings(folder: Path) -> dict[str, Any]:
    """concept.toml as a dictionary with at most the keys class and live; {} when there is none."""
    path = folder / SETTINGS
    if not os.path.lexists(path):
        return {}
    check_place(path, folder)
    settings = read_toml(path, ConceptError, 'write for example: class = "cat"')
    expected = {"class": (str, 'text, as in class = "cat"'), "live": (bool, "true or false")}
    problems = []
    for key, value in settings.items():
        if key not in expected:
            problems.append(f"{path} has an unknown key {quoted(key)}; the keys are class and live")
        elif not isinstance(value, expected[key][0]):
            problems.append(f"{path}: {key} is {quoted(value)}; it must be {expected[key][1]}")
    if problems:
        raise ConceptError("; ".join(problems[:MOST_LISTED]))
    return settings


def read_caption(path: Path, folder: Path) -> str:
    """The caption in a .txt file, <V> in it. Raises ConceptError."""
    check_place(path, folder)
    try:
        caption = " ".join(read_text(path, error=ConceptError).split())
    except OSError as error:
        raise ConceptError(f"{path} cannot be read ({error.strerror}); save it again, or remove it") from None
    if not caption:
        raise ConceptError(
            f"{path} is an empty caption; write one, or remove the file to use the default caption"
        )
    if PLACEHOLDER not in caption:
        raise ConceptError(
            f"{path} lacks {PLACEHOLDER}{placeholder_hint(caption)}: {quoted(caption)} would not teach it; "
            f'name it, as in "{PLACEHOLDER} cat on a sofa"'
        )
    return caption
