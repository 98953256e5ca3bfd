"""Reading what others wrote: only regular files, no larger than a stated size, and text as editors save it."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from coeffdream.errors import RunError, UserError

TEXT_LIMIT = 4 << 20  # bytes of a caption, a list of prompts, a TOML or a CSV file
RECORD_LIMIT = 256 << 20  # bytes of run.json, images.jsonl, scores.json, ...


@contextlib.contextmanager
def opened(path: Path, *, limit: int, error: type[UserError] = RunError) -> Iterator[BinaryIO]:
    """A file open for reading, once it is known to be a regular one of at most `limit` bytes.

    Looked at after opening, so that nothing can be put in its place between; a pipe is not waited for.

    Raises `error` for a folder, a pipe, a device or a larger file; OSError when it cannot be opened.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise error(f"{path} is {_kind(status.st_mode)}, not a file; put a regular file there")
        if status.st_size > limit:
            raise error(
                f"{path} has {status.st_size:,} bytes, above the limit of {limit:,} for such a file; "
                "is it the right one?"
            )
        stream = os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise
    with stream:
        yield stream


def read_bytes(path: Path, *, limit: int, error: type[UserError] = RunError) -> bytes:
    """The content of a regular file. Raises as `opened`."""
    with opened(path, limit=limit, error=error) as stream:
        return stream.read(limit)


def read_text(path: Path, *, limit: int = TEXT_LIMIT, error: type[UserError] = RunError) -> str:
    """The text of a UTF-8 file, with or without a byte order mark.

    Raises `error`, which names the line, for another encoding and for NUL bytes; else as `opened`.
    """
    try:
        return decoded(read_bytes(path, limit=limit, error=error))
    except ValueError as problem:
        raise error(f"{path}, {problem}; save the file as UTF-8 plain text") from None


def decoded(data: bytes) -> str:
    """UTF-8 as text. Raises ValueError that says on which line it is none, or holds a NUL."""
    what, broken_at = "holds NUL bytes, as a file cut by a power failure does", data.find(b"\0")
    text = ""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        utf16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))
        what, broken_at = "is UTF-16, not UTF-8 text" if utf16 else "is not UTF-8 text", problem.start
    if broken_at >= 0:
        raise ValueError(f"line {data.count(10, 0, broken_at) + 1} {what}")
    return text


def _kind(mode: int) -> str:
    kinds = {
        stat.S_ISDIR: "a folder",
        stat.S_ISFIFO: "a pipe",
        stat.S_ISSOCK: "a socket",
        stat.S_ISCHR: "a device",
        stat.S_ISBLK: "a device",
    }
    return next((name for test, name in kinds.items() if test(mode)), "something else")
