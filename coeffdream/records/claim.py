"""Claims: a run, a set of pictures and a study belong to one process at a time.

A claim is the system's own lock on a file in the folder, which a process that died does not keep, and a
note beside it that says who holds it. Both go when the work is done. Who only reads needs no claim.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from coeffdream.errors import InUseError, RunError
from coeffdream.records.files import read_json, remove_leftovers, sync, write_json

LOCK = ".lock"
HOLDER = ".holder.json"
# Network file systems that know no lock at all; there a file with the holder's pid stands for it.
NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK)
# Of the files in a claimed folder those that are written without the claim: by eval, report and sweep.
UNCLAIMED = ("scores", "report", "sweep")
PATIENCE = 0.5  # seconds: a neighbour that only looks is gone by then

_held: dict[Path, Claim] = {}


@dataclass(frozen=True)
class Claim:
    """A folder that this process holds until `release`."""

    folder: Path
    token: str
    lock: BaseFileLock
    made: tuple[Path, ...]  # folders that the claim had to make, the deepest first

    def is_ours(self) -> bool:
        """False once the folder was removed, or replaced by one that another process claimed."""
        with contextlib.suppress(RunError, OSError):
            note = read_json(self.folder / HOLDER)
            return isinstance(note, dict) and note.get("token") == self.token
        return False

    def release(self) -> None:
        """Give the folder back; one that nothing came of goes again."""
        _held.pop(self.folder, None)
        if self.is_ours():
            with contextlib.suppress(OSError):
                (self.folder / HOLDER).unlink()
                if not isinstance(self.lock, SoftFileLock):  # which removes its file itself
                    (self.folder / LOCK).unlink()
        self.lock.release()
        with contextlib.suppress(OSError):  # not empty, as it should be
            for folder in self.made:
                folder.rmdir()


@contextlib.contextmanager
def claimed(folder: Path, doing: str, what: str, remedy: str) -> Iterator[Claim]:
    """Hold `folder`, which need not be there yet. Raises InUseError when another process does.

    doing: the command, for the others' messages. what, remedy: of our own.
    """
    claim = attempt(folder, doing)
    if claim is None:
        raise in_use(folder, what, remedy)
    try:
        yield claim
    finally:
        claim.release()


def numbered(folder: Path) -> Iterator[Path]:
    """`folder`, and then `folder`-2, -3, ... to be tried in turn. Raises RunError when all are taken."""
    yield folder
    for number in range(2, 10_000):
        yield folder.with_name(f"{folder.name}-{number}")
    raise RunError(f"{folder.parent} holds 10,000 folders called {folder.name!r}; choose another name")


def attempt(folder: Path, doing: str) -> Claim | None:
    """A claim that is the caller's to release; None when another process has the folder."""
    folder = folder.resolve()
    for _ in range(5):
        made = _make(folder)
        try:
            lock = _locked(folder)
        except FileNotFoundError:  # a neighbour gave the empty folder back in between
            continue
        if lock is None:
            return None
        claim = Claim(folder, secrets.token_hex(8), lock, made)
        since = datetime.now().astimezone().isoformat(" ", timespec="seconds")
        note = {"pid": os.getpid(), "since": since, "doing": doing, "token": claim.token}
        try:
            write_json(folder / HOLDER, note)
        except BaseException:
            lock.release()
            raise
        _held[folder] = claim
        with contextlib.suppress(OSError):  # litter is no reason not to work
            remove_leftovers(folder, but=UNCLAIMED)
        return claim
    return None


@contextlib.contextmanager
def in_turn(folder: Path, doing: str) -> Iterator[Claim]:
    """Hold `folder`, and wait for that as long as another process does."""
    while (claim := attempt(folder, doing)) is None:
        time.sleep(PATIENCE / 10)
    try:
        yield claim
    finally:
        claim.release()


def confirm(folder: Path) -> None:
    """Before writing into `folder`: raises RunError when this process claimed it and has it no more.

    It was removed while the work went on, and what lies there now, if anything, is another's.
    """
    claim = _held.get(folder.resolve())
    if claim is not None and not claim.is_ours():
        raise RunError(
            f"{folder} was removed or replaced while it was being worked in; nothing more is written to it"
        )


def in_use(folder: Path, what: str, remedy: str) -> InUseError:
    """The one line that the second comer gets."""
    return InUseError(f"{what} is in use by {holder(folder)}; {remedy}")


def is_held(folder: Path) -> bool:
    """Whether a process holds `folder` at this moment."""
    if not (folder / LOCK).exists():
        return False
    try:
        lock = _locked(folder)
    except OSError:  # one that may only be read says nothing
        return False
    if lock is not None:
        lock.release()
    return lock is None


def holder(folder: Path) -> str:
    """Who holds `folder`, as far as its note can be read."""
    with contextlib.suppress(RunError, OSError):
        note = read_json(folder / HOLDER)
        if isinstance(note, dict) and {"pid", "since", "doing"} <= note.keys():
            return f"process {note['pid']!s:.20} since {note['since']!s:.40} ({note['doing']!s:.40})"
    return "another process"


def is_free(folder: Path) -> bool:
    """Whether no process holds `folder` or anything in it."""
    return not any(is_held(file.parent) for file in folder.rglob(LOCK))


def is_husk(folder: Path) -> bool:
    """Whether there is nothing in `folder` but what a claim leaves behind when its process is killed."""
    return not any(path.is_symlink() or not path.is_dir() for path in folder.rglob("*") if not _ours(path))


def create_json(path: Path, value: Any) -> bool:
    """Write a JSON file whole, unless there is one of that name; whether it was written.

    Of several processes that try at once, one succeeds.
    """
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")
    try:
        write_json(temporary, value)
        try:
            os.link(temporary, path)
            sync(path.parent)
        except FileExistsError:
            return False
        except (OSError, NotImplementedError):  # no hard links here; the caller's claim keeps others out
            if path.exists():
                return False
            temporary.replace(path)
        return True
    finally:
        temporary.unlink(missing_ok=True)


def _ours(path: Path) -> bool:
    return path.name.startswith(LOCK) or (path.name.startswith(".") and path.suffix == ".json")


def _make(folder: Path) -> tuple[Path, ...]:
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return tuple(missing)


def _locked(folder: Path) -> BaseFileLock | None:
    """The lock of a folder, taken; None when another process keeps it."""
    lock: BaseFileLock = FileLock(folder / LOCK, thread_local=False)
    try:
        try:
            lock.acquire(timeout=PATIENCE)
        except OSError as error:
            if isinstance(error, Timeout) or error.errno not in NO_LOCKS:
                raise
            lock = SoftFileLock(folder / f"{LOCK}.soft", thread_local=False)
            lock.acquire(timeout=PATIENCE)
    except Timeout:
        return None
    return lock
