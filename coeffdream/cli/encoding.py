"""Text for any terminal: no control characters in it, and no letter that its encoding lacks."""

from __future__ import annotations

import io
import re
import sys

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def use_any_encoding() -> None:
    """Let standard output put a question mark for what its encoding lacks. Standard error escapes it already."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def printable(text: str) -> str:
    """Text whose control characters are escaped: a file's name may hold commands to the terminal."""
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)
