"""SIGINT (Ctrl-C), SIGTERM and SIGHUP (a closed terminal): how a person or a machine asks the program to stop.

The first is heard as soon as the work allows, the second stops the process at once. Either way it ends
with one line and the shell's status: 128 and the signal's number.
"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
WORDS = {"SIGTERM": "terminated", "SIGHUP": "hung up"}


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
    word = WORDS.get(signal.Signals(status - 128).name, "interrupted")
    return f"{word}; what was finished is kept"


@contextlib.contextmanager
def heard() -> Iterator[None]:
    """The first signal raises Stopped wherever the program is, the next one ends it there and then."""
    asked = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        _note(number)
        if asked:
            _end(number)
        asked = True
        raise Stopped(number)

    def unraisable(lost: Any) -> None:
        """A library's callback swallowed it: ask once more, when that is over."""
        nonlocal asked
        if isinstance(lost.exc_value, Stopped):
            asked = False
            threading.Timer(0.05, ask_this_process, [lost.exc_value.number]).start()
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
        _note(number)
        if request():
            raise Stopped(number)
        request.number = number

    with _handled_by(ask):
        yield request


@contextlib.contextmanager
def _handled_by(handler: Any) -> Iterator[None]:
    try:
        previous = {number: signal.signal(number, handler) for number in SIGNALS if not _unheard(number)}
    except ValueError:  # not the main thread, where signals do not arrive
        previous = {}
    try:
        yield
    finally:
        for number, each in previous.items():
            signal.signal(number, each)


def _unheard(number: int) -> bool:
    """Whether whoever began this process asked that it outlive its terminal (nohup)."""
    return number not in (signal.SIGINT, signal.SIGTERM) and signal.getsignal(number) is signal.SIG_IGN


def _note(number: int) -> None:
    _last.number = number
    if number in (signal.SIGINT, signal.SIGTERM):
        return
    with contextlib.suppress(
        OSError
    ):  # printing to a terminal that is gone fails, and would end the work badly
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (1, 2):
            if stat.S_ISCHR(os.fstat(descriptor).st_mode):
                os.dup2(nowhere, descriptor)


def ask_this_process(number: int) -> None:
    """As a signal from outside would, from any thread. (Windows' os.kill does not ask: it ends the process.)"""
    if hasattr(signal, "pthread_kill"):  # only the main thread's own sleep ends on it
        signal.pthread_kill(threading.main_thread().ident or 0, number)  # noqa: TID251
    else:
        signal.raise_signal(number)


def _end(number: int) -> None:
    """Without unwinding anything: what is on disk is whole at every moment."""
    with contextlib.suppress(OSError):
        os.write(2, f"error: {line_of(128 + number).split(';')[0]} at once\n".encode())
    os._exit(128 + number)
