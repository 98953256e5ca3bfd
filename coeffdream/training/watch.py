"""What goes wrong while the numbers still look like numbers: a loss that runs away, a step that drags."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from coeffdream.errors import DivergedError

# A loss goes up and down with its timestep, so single steps say nothing. Were nothing to change, the last
# 10 of 30 losses would all lie above the other 20 once in 30 million times.
START, LAST = 20, 10
SLOW, SLOW_AT_LEAST = 10.0, 1.0  # times the median of the steps before; seconds


class Watch:
    """Sees every row of the log, those of a resumed run's past included."""

    def __init__(self, past: Sequence[dict[str, Any]], lr: float) -> None:
        self._losses = [float(row["loss"]) for row in past]
        self._seconds = [float(row["seconds"]) for row in past]
        self._lr = lr
        self._told = False

    def look(self, row: dict[str, Any]) -> str | None:
        """What a person should hear about this step, once a run.

        Raises DivergedError when each of the last 10 losses lies above the largest of the first 20.
        """
        self._losses.append(row["loss"])
        start, last = max(self._losses[:START]), min(self._losses[-LAST:])
        if len(self._losses) >= START + LAST and last > start:
            raise DivergedError(
                f"the loss ran away: in steps {row['step'] - LAST + 1} to {row['step']} it was {last:.3g} or more, and in "
                f"the first {START} steps {start:.3g} at most; what was learned since is of no use. "
                f"Train again with a smaller --lr (it is {self._lr:g})"
            )
        usual = statistics.median(self._seconds[-50:]) if len(self._seconds) >= 10 else None
        self._seconds.append(row["seconds"])
        if self._told or usual is None or row["seconds"] < max(SLOW * usual, SLOW_AT_LEAST):
            return None
        self._told = True
        return (
            f"step {row['step']} took {row['seconds']:.1f} s where {usual:.2f} s is usual here: another program on the "
            "same device, memory that no longer fits (--gradient-checkpointing), or heat"
        )
