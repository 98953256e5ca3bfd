"""SIGINT (Ctrl-C) and SIGTERM: how a person or a machine asks the program to stop.

The first is heard as soon as the work allows, the second stops the process at once. Either way it ends
with one line and the shell's status: 128 and the signal's number.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """The program was asked to stop by a signal."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class StopRequest:
    """Whether a stop was asked for while work goes on that first comes to a good end."""

    number: int | None = None

    def __call__(self) -> bool:
        return self.number is not None


_last = StopRequest()  # of this process, whoever handled it


def status_of(stop: BaseException | None = None) -> int:
    """The exit status after `stop`, or after the last request that was heard."""
    number = stop.number if isinstance(stop, Stopped) else _last.number
    return 128 + (number or signal.SIGINT)


def line_of(status: int) -> str:
    word = "terminated" if status == 128 + signal.SIGTERM else "interrupted"
    return f"{word}; what was finished is kept"


@contextlib.contextmanager
def heard() -> Iterator[None]:
    """The first signal raises Stopped wherever the program is, the next one ends it there and then."""
    asked = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        _last.number = number
        if asked:
            _end(number)
        asked = True
        raise Stopped(number)

    def unraisable(lost: Any) -> None:
        """A library's callback swallowed it: ask once more, when that is over."""
        nonlocal asked
        if isinstance(lost.exc_value, Stopped):
            asked = False
            threading.Timer(0.05, _ask_again, [lost.exc_value.number]).start()
        else:
            before(lost)

    _last.number = None
    before, sys.unraisablehook = sys.unraisablehook, unraisable
    try:
        with _handled_by(handle):
            yield
    finally:
        sys.unraisablehook = before


@contextlib.contextmanager
def stop_requested() -> Iterator[StopRequest]:
    """The first signal is only noted, for work that looks and ends by itself; the next one raises Stopped."""
    request = StopRequest()

    def ask(number: int, frame: FrameType | None) -> None:
        _last.number = number
        if request():
            raise Stopped(number)
        request.number = number

    with _handled_by(ask):
        yield request


@contextlib.contextmanager
def _handled_by(handler: Any) -> Iterator[None]:
    try:
        previous = {number: signal.signal(number, handler) for number in SIGNALS}
    except ValueError:  # not the main thread, where signals do not arrive
        previous = {}
    try:
        yield
    finally:
        for number, each in previous.items():
            signal.signal(number, each)


def _ask_again(number: int) -> None:
    if hasattr(signal, "pthread_kill"):  # only the main thread's own sleep ends on it
        signal.pthread_kill(threading.main_thread().ident or 0, number)
    else:
        signal.raise_signal(number)


def _end(number: int) -> None:
    """Without unwinding anything: what is on disk is whole at every moment."""
    with contextlib.suppress(OSError):
        os.write(2, f"error: {line_of(128 + number).split(';')[0]} at once\n".encode())
    os._exit(128 + number)
