"""A command line that `accelerate launch` or torchrun runs in several processes at once: one of them speaks."""

from __future__ import annotations

import atexit
import os
import pathlib
import sys
from collections.abc import Sequence

from coeffdream.backbones.processes import let_go, processes
from coeffdream.errors import ConfigError, listed

SHARED = ("train", "generate", "eval")


def take_part(arguments: Sequence[str]) -> None:
    """Raises ConfigError for a command that several processes cannot share. All but the first fall silent."""
    if processes().count == 1:
        return
    command = next((word for word in arguments if not word.startswith("-")), "")
    if command not in SHARED:
        raise ConfigError(
            f"several processes cannot share {command or 'this'}, only {listed(list(SHARED))}; run it without the launcher"
        )
    if is_silent():
        sys.stdout = sys.stderr = pathlib.Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  until the process ends
    atexit.register(let_go)


def is_silent() -> bool:
    return not processes().first


def which_process() -> str:
    """Before the message of an error, which may be this process's alone."""
    return f"process {processes().index}: " if is_silent() else ""
