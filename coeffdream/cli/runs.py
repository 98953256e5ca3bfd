"""Which run a command is about: one that is here, or one on the hub, which is fetched first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from coeffdream.cli.terminal import ProgressDisplay, warn

if TYPE_CHECKING:
    from coeffdream.records.run import RunFolder


def the_run(run: str | None, runs: Path) -> RunFolder:
    """What --run names; the latest when it names none. Raises RunError, HubError."""
    from coeffdream.sharing.pull import find_run_anywhere

    with ProgressDisplay() as progress:
        return find_run_anywhere(run, runs, progress, warn)
