"""A process that runs one command after another: it has the libraries, the base and the scorers from the first one on."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from coeffdream import stopping, warm
from coeffdream.bench.carried import carried
from coeffdream.bench.store import Store

# Runs `coeffdream ARGUMENTS` in this process; its exit status.
Perform = Callable[[list[str]], int]


class Worker:
    """One process, begun with its first command. A command that it dies of raises BrokenExecutor."""

    def __init__(
        self,
        perform: Perform,
        shared: Path,
        threads: int | None = None,
        environment: Mapping[str, str] | None = None,
        store: str | None = None,
    ) -> None:
        """perform: a function of a module. shared: the study's folder for what its workers make once. threads: of
        torch; None leaves their number to it. environment: what is set before any library is imported. store: where
        the study is kept, if not in that folder."""
        # Anew, not forked: a fork cannot use CUDA, and what macOS's libraries have begun does not survive it.
        context = multiprocessing.get_context("spawn")
        self._pid, self._asked = context.Value("l", 0), context.Value("l", 0)
        self._pool = ProcessPoolExecutor(
            1,
            mp_context=context,
            initializer=_begin,
            initargs=(self._pid, self._asked, perform, str(shared), threads, dict(environment or {}), store),
        )

    def submit(self, arguments: list[str], log: Path) -> Future[int]:
        """Run `coeffdream ARGUMENTS` with what it prints added to `log`; its exit status."""
        return self._pool.submit(_run, arguments, str(log))

    def card_memory(self) -> int:
        """Bytes of the card that the process sees; 0 without one."""
        return self._pool.submit(_card_memory).result()

    def stop(self, number: int) -> None:
        """Hand a signal on to the command that is running; no other begins. (On Windows it ends the process: the last
        checkpoint stays.)"""
        self._asked.value = number
        if self._pid.value:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid.value, number)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


class _Here:
    """What the process knows of itself."""

    perform: Perform
    asked: Any
    store: Store | None = None
    at_work = False
    study_ended = False


def _begin(
    pid: Any,
    asked: Any,
    perform: Perform,
    shared: str,
    threads: int | None,
    environment: Mapping[str, str],
    store: str | None,
) -> None:
    if hasattr(os, "setpgrp"):
        os.setpgrp()  # noqa: TID251  The terminal's Ctrl-C comes through the study, once
    for number in stopping.SIGNALS:
        signal.signal(number, lambda *_: None)  # between two commands `asked` tells
    os.environ.update(environment)
    _Here.perform, _Here.asked = staticmethod(perform), asked
    _Here.store = Store(store, Path(shared).parent) if store else None
    warm.keep(Path(shared), _Here.store.fetch if _Here.store else None, threads)
    pid.value = os.getpid()
    threading.Thread(target=_end_with_the_study, daemon=True).start()


def _run(arguments: list[str], log: str) -> int:
    Path(log).parent.mkdir(parents=True, exist_ok=True)  # on the machines of a cluster that share no disk
    with Path(log).open("ab") as stream:
        for descriptor in (1, 2):
            os.dup2(stream.fileno(), descriptor)
    for printed in (sys.stdout, sys.stderr):
        if isinstance(printed, TextIOWrapper):
            printed.reconfigure(line_buffering=True)
    _Here.at_work = True
    try:
        if _Here.store is None:
            return _performed(arguments)
        path = Path(log)
        return carried(
            _Here.store,
            path.stem,
            arguments,
            path,
            lambda: _performed(arguments),
            lambda: _Here.study_ended,
        )
    finally:
        _Here.at_work = False
        if _Here.study_ended:
            os._exit(0)


def _performed(arguments: list[str]) -> int:
    try:
        with stopping.heard():  # before the look at `asked`, so that no request is lost between the two
            if _Here.asked.value:
                raise stopping.Stopped(_Here.asked.value)
            if _Here.study_ended:  # while files were brought for it
                raise stopping.Stopped(signal.SIGINT)
            warm.as_if_new()
            return _Here.perform(arguments)
    except stopping.Stopped as stop:
        return stopping.status_of(stop)


def _card_memory() -> int:
    from coeffdream.backbones.placement import memory_of

    return memory_of("cuda") or 0


def _end_with_the_study() -> None:
    """A study that was killed leaves no stage behind: this one saves its state, as on Ctrl-C."""
    study = multiprocessing.parent_process()
    if study is None:
        return
    study.join()
    _Here.study_ended = True
    if _Here.at_work:
        stopping.ask_this_process(signal.SIGINT)
    else:
        os._exit(0)
