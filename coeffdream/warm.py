"""What a process that runs one command after another keeps from one to the next, and shares with its neighbours.

A command of its own keeps nothing. The workers of a study keep the base and the scorers that they loaded, and share a
folder of the study: what is made of a concept's photos lies there, made by whoever comes first. Where machines share no
disk, what a neighbour made is fetched.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, TypeVar

Kept = TypeVar("Kept")


class _Shelf:
    things: dict[Hashable, Any] | None = None
    shared: Path | None = None
    fetch: Callable[[Path], None] | None = None


_shelf = _Shelf()


def keep(shared: Path | None, fetch: Callable[[Path], None] | None = None) -> None:
    """From here on this process keeps what `kept` makes. shared: the folder of all processes of a study. fetch: brings a
    file or a folder of the study here that another machine made."""
    _shelf.things, _shelf.shared, _shelf.fetch = {}, shared, fetch


def keep_nothing() -> None:
    _shelf.things, _shelf.shared, _shelf.fetch = None, None, None


def keeping() -> bool:
    return _shelf.things is not None


def kept(key: Hashable, make: Callable[[], Kept]) -> Kept:
    """What was made under this key before, if this process keeps it, else what `make` makes."""
    if _shelf.things is None:
        return make()
    if key not in _shelf.things:
        _shelf.things[key] = make()
    # What lies under a key is what the same `make` made.
    return _shelf.things[key]  # type: ignore[no-any-return]


def shared() -> Path | None:
    """The folder of the study that this process works for."""
    return _shelf.shared


def fetched(path: Path) -> Path:
    """A file or a folder of the study, brought here first where another machine has made it and this one has not."""
    if _shelf.fetch is not None:
        _shelf.fetch(path)
    return path
