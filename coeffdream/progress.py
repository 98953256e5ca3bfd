"""How long work tells how far it is, without knowing whether a person or a pipe is listening."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

# (what is being done, how much is done, of how much, a short note such as the loss). Of 0: it need not be shown further.
Progress = Callable[[str, int, int, str], None]

# (a run's folder, whether its training has ended): shows how far it came. Called at every step, so it must be cheap.
Look = Callable[[Path, bool], None]


def silent(stage: str, done: int, total: int, note: str = "") -> None:
    """For callers that do not want to hear."""


def unheard(line: str) -> None:
    """For where nobody listens to warnings."""


def unseen(folder: Path, ended: bool) -> None:
    """For where nobody looks at a run while it trains."""
