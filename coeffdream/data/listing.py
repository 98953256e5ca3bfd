"""What lies in a folder that a person filled, without what systems and tools leave behind in it."""

from __future__ import annotations

import os
from pathlib import Path

_JUNK = frozenset(
    {
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        "icon\r",
        "__macosx",
        "@eadir",
        "#recycle",
        "$recycle.bin",
        "system volume information",
        "lost+found",
        "__pycache__",
    }
)
_JUNK_SUFFIXES = frozenset({".aae", ".xmp"})


def entries(folder: Path) -> list[Path]:
    """A folder's entries by name; hidden ones and leavings are not among them. Raises OSError."""
    found = sorted(folder.iterdir(), key=lambda path: path.name)
    return [path for path in found if not is_leaving(path)]


def is_leaving(path: Path) -> bool:
    """Whether a file or folder is hidden, or one that systems and tools leave behind."""
    name = path.name.lower()
    return name.startswith(".") or name in _JUNK or path.suffix.lower() in _JUNK_SUFFIXES


def leads_out(path: Path, folder: Path) -> bool:
    """Whether a path in `folder` is a link, or below one, that ends outside of it."""
    # realpath, unlike resolve(), ends for a link that leads to itself.
    return not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def is_text(name: str) -> bool:
    """Whether a name can be written as UTF-8: one out of an old archive may be of bytes that mean nothing."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
