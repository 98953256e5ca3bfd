"""A command of a cell whose study is kept at a store: what it needs comes down before it, what it made goes up after it."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from coeffdream.bench.store import Store
from coeffdream.errors import CoeffdreamError, RunError
from coeffdream.records.claim import is_free

STRAGGLERS = 60.0  # seconds that a process of before may take to save what it was at


def carried(
    store: Store,
    cell: str,
    arguments: Sequence[str],
    log: Path,
    perform: Callable[[], int],
    abandoned: Callable[[], bool] = lambda: False,
) -> int:
    """The exit status of `perform`, or of what kept it from the store, which is then the last line that is printed.

    Sent is what came to its end, and what was asked to stop and saved its state. abandoned: whether the study that this
    was for is gone; another one may be at the cell by now, and nothing is sent.
    """
    began, printed = time.time() - 1, log.stat().st_size
    run, training = store.folder / "runs" / cell, arguments[0] == "train"
    try:
        while run.exists() and not is_free(run) and time.time() < began + STRAGGLERS:
            time.sleep(0.1)
        store.bring(cell, lambda name: training or not name.startswith("checkpoints/"))
        if training and "--name" in arguments:  # from the beginning: nothing of the cell is at the store
            store.set_aside(cell)
        status = perform()
        if (status == 0 or status > 128) and not abandoned():
            store.send(cell)
            store.share(began)
    except (CoeffdreamError, OSError) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        status = error.exit_status if isinstance(error, CoeffdreamError) else 1
    with contextlib.suppress(CoeffdreamError):  # no result depends on it
        said = f"$ coeffdream {' '.join(arguments)}\n".encode() + log.read_bytes()[printed:]
        store.write(_log_of(cell), (store.read(_log_of(cell)) or b"") + said)
    return status


def bring_log(store: Store, cell: str, log: Path) -> None:
    """Have a cell's log here where another machine has written more of it than this one."""
    with contextlib.suppress(RunError):
        there = store.read(_log_of(cell))
        if there is not None and (not log.is_file() or len(there) > log.stat().st_size):
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_bytes(there)


def _log_of(cell: str) -> str:
    return f"logs/{cell}.log"
