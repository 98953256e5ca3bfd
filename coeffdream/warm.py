"""What a process that runs one command after another keeps from one to the next, and shares with its neighbours.

A command of its own keeps nothing. `demo` and the workers of a study keep the base and the scorers that they loaded; the
workers share a folder of the study, too: what is made of a concept's photos lies there, made by whoever comes first.
Where machines share no disk, what a neighbour made is fetched.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, TypeVar

Kept = TypeVar("Kept")


class _Shelf:
    things: dict[Hashable, Any] | None = None
    shared: Path | None = None
    fetch: Callable[[Path], None] | None = None
    threads: int | None = None


_shelf = _Shelf()


def keep(
    shared: Path | None, fetch: Callable[[Path], None] | None = None, threads: int | None = None
) -> None:
    """From here on this process keeps what `kept` makes. shared: the folder of all processes of a study. fetch: brings a
    file or a folder of the study here that another machine made. threads: of torch; None leaves their number to it."""
    _shelf.things, _shelf.shared, _shelf.fetch, _shelf.threads = {}, shared, fetch, threads


def keep_nothing() -> None:
    _shelf.things, _shelf.shared, _shelf.fetch, _shelf.threads = None, None, None, None


def keeping() -> bool:
    return _shelf.things is not None


def as_if_new() -> None:
    """Take back what the command before may have left: threads, memory of the card and its high-water mark."""
    import torch

    if _shelf.threads is None:
        _shelf.threads = torch.get_num_threads()
    torch.set_num_threads(_shelf.threads)
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def kept(key: Hashable, make: Callable[[], Kept]) -> Kept:
    """What was made under this key before, if this process keeps it, else what `make` makes."""
    if _shelf.things is None:
        return make()
    if key not in _shelf.things:
        _shelf.things[key] = make()
    return _shelf.things[key]  # type: ignore[no-any-return]  # a key has one `make`: this is what it made


def shared() -> Path | None:
    """The folder of the study that this process works for."""
    return _shelf.shared


def fetched(path: Path) -> Path:
    """A file or a folder of the study, brought here first where another machine has made it and this one has not."""
    if _shelf.fetch is not None:
        _shelf.fetch(path)
    return path
