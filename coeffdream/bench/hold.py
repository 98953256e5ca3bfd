"""Who drives the study at a store: the second one is told so.

fsspec has no locks that every storage keeps. So whoever drives leaves a note that changes every few seconds; a note that
does not change was left by a process that was killed. Nobody's clock is asked.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import datetime

from coeffdream import stopping
from coeffdream.bench.store import Store
from coeffdream.errors import InUseError, RunError
from coeffdream.records.files import json_line, parse_json
from coeffdream.records.reading import decoded

NOTE = "driver.json"
BEAT = 10.0  # seconds from one change of the note to the next
MISSED = 3  # beats that a driver may miss and still be taken for one


@contextlib.contextmanager
def held(store: Store, tell: Callable[[str], None]) -> Iterator[None]:
    """Drive the study at `store` while the block lasts. Raises InUseError when another process does.

    One that takes over while this process was out of touch, asleep for example, is heard of as of a request to stop.
    """
    _wait_for_silence(store, tell)
    token, ended = secrets.token_hex(8), threading.Event()
    since = datetime.now().astimezone().isoformat(" ", timespec="seconds")
    note = {"host": socket.gethostname(), "pid": os.getpid(), "since": since, "token": token}

    def beat() -> None:
        number = 0
        while not ended.wait(BEAT):
            with contextlib.suppress(RunError):  # out of reach for a while
                if not _is_of(token, store.read(NOTE)):
                    tell(f"{store.address} was taken over by {_who(store.read(NOTE))}; this process stops")
                    stopping.ask_this_process(signal.SIGTERM)
                    return
                number += 1
                store.write(NOTE, json_line({**note, "beat": number}))

    store.write(NOTE, json_line({**note, "beat": 0}))
    beating = threading.Thread(target=beat, daemon=True)
    beating.start()
    try:
        yield
    finally:
        ended.set()
        beating.join()
        with contextlib.suppress(RunError):
            if _is_of(token, store.read(NOTE)):
                store.remove(NOTE)


def _wait_for_silence(store: Store, tell: Callable[[str], None]) -> None:
    first = store.read(NOTE)
    if first is None:
        return
    tell(f"{store.address} was in use by {_who(first)}; seeing for {BEAT * MISSED:.0f} s whether it still is")
    for _ in range(2 * MISSED):
        threading.Event().wait(BEAT / 2)
        now = store.read(NOTE)
        if now is None:
            return
        if now != first:
            raise InUseError(
                f"{store.address} is in use by {_who(now)}; wait until that has ended, or give another --store"
            )


def _is_of(token: str, note: bytes | None) -> bool:
    return note is not None and token.encode() in note


def _who(note: bytes | None) -> str:
    with contextlib.suppress(ValueError, TypeError, KeyError):
        told = parse_json(decoded(note or b""))
        return f"process {told['pid']!s:.20} on {told['host']!s:.80} since {told['since']!s:.40}"
    return "another process"
