"""`runs/latest`: the way to the newest run, for people and for commands that name none.

A symbolic link; where the disk knows none, a text file that holds the run's name.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from coeffdream.errors import RunError
from coeffdream.records.files import read_json, write_text

LATEST = "latest"
LONGEST_NAME = 255  # bytes, of a file name anywhere


def point_latest_at(run: Path) -> None:
    """Make `runs/latest` lead to this run, unless something that is not ours has that name.

    Raises OSError when the folder of runs cannot be written.
    """
    link = run.parent / LATEST
    if in_the_way(run.parent):
        return
    with contextlib.suppress(OSError):  # nothing there, a link or a file: those are replaced
        link.rmdir()
    temporary = link.with_name(f".{LATEST}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    try:
        temporary.symlink_to(run.name, target_is_directory=True)
    except (OSError, NotImplementedError):
        write_text(link, f"{run.name}\n")
    else:
        temporary.replace(link)


def in_the_way(runs: Path) -> str | None:
    """What is wrong with a `runs/latest` that is a person's own, and so is left alone; else None."""
    link = runs / LATEST
    if link.is_symlink() or not link.exists() or _named_in(link) is not None:
        return None
    if link.is_dir() and not any(link.iterdir()):
        return None
    kind = "folder" if link.is_dir() else "file"
    return (
        f"{link} is a {kind} of its own, not the way to the newest run, and is left alone: name runs with --run, "
        "or remove or rename it"
    )


def resolve_latest(link: Path) -> Path | None:
    """The folder of the run that `link`, some `runs/latest`, leads to; None when it leads to none.

    A folder in its place, as copying leaves behind that follows links, stands for the run it was copied from.
    """
    name = _named_in(link)
    if name is not None:
        target = link.parent / name
    elif link.is_dir() and not link.is_symlink():
        target = _original(link) or link
    else:
        target = link.resolve()
    return target.resolve() if (target / "run.json").is_file() else None


def newest_run(runs: Path) -> Path | None:
    """Where `runs/latest` leads. Raises RunError when it is a folder of its own that newer runs have overtaken."""
    link = runs / LATEST
    run = resolve_latest(link)
    if run is None or link.is_symlink() or not link.is_dir():
        return run
    created = _created(run)
    others = [path.parent for path in runs.glob("*/run.json") if path.parent.name != LATEST]
    if any(_created(other) > created for other in others):
        raise RunError(f"{link} is a folder, not the way to the newest run; name the run with --run")
    return run


def _named_in(file: Path) -> str | None:
    """The run's name in a text file that stands for the link; None for every other file.

    An empty one is what a crash leaves behind of it.
    """
    if file.is_symlink() or not file.is_file() or file.stat().st_size > LONGEST_NAME + 2:
        return None
    try:
        name = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
    plain = name.isprintable() and name not in (".", "..", LATEST) and not set(name) & set("/\\:")
    return name if plain else None


def _original(copied: Path) -> Path | None:
    """The run beside a copied folder that it is a copy of."""
    try:
        record = read_json(copied / "run.json")
        original = copied.parent / str(record["name"])
        same = original.resolve().parent == copied.parent.resolve() and original.name != LATEST
        return original if same and _created(original) == record["created"] else None
    except (RunError, OSError, KeyError, TypeError, ValueError):
        return None


def _created(run: Path) -> str:
    try:
        return str(read_json(run / "run.json")["created"])
    except (RunError, OSError, KeyError, TypeError):
        return ""
