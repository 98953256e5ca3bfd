"""Writing files so that a crash leaves either the old one or the new one, and hashing them."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from coeffdream.errors import RunError


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes `path`'s name, else it is removed.

    When the block is left, file and name are on the disk, not only on their way to it. An OSError in
    the block that names no file, as a write on a full disk does, gets the name of `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not tempfile: its files are private, and results are meant to be shared like any other file.
    temporary = path.with_name(f".{path.stem[:40]}.{secrets.token_hex(4)}{path.suffix}")
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield temporary
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, have reached the disk."""
    try:
        handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    except PermissionError:
        if path.is_dir():  # Windows opens no folders
            return
        raise
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems that cannot sync a folder
            raise
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    with replacing(path) as temporary, temporary.open("wb") as stream:
        stream.writelines(map(json_line, rows))


def json_line(row: Any) -> bytes:
    """One line of a JSONL file."""
    return (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n").encode()


def read_json(path: Path) -> Any:
    """The value in a JSON file. Raises RunError when it is missing or damaged."""
    with _explained(path):
        return json.loads(path.read_text(encoding="utf-8"))


def read_jsonl(path: Path) -> list[Any]:
    """One value per line of a JSONL file. Raises RunError when it is missing or damaged."""
    return [value for _, value in iter_jsonl(path)]


def iter_jsonl(path: Path, *, growing: bool = False) -> Iterator[tuple[int, Any]]:
    """The values of a JSONL file one by one, each with the byte at which its line begins.

    growing: the file is one that lines are appended to, so its last line may be half there; it is left out.
    Raises RunError when the file is missing or damaged.
    """
    offset = 0
    with _explained(path), path.open("rb") as stream:
        # Bytes: text would also be cut at U+2028 and U+0085, which JSON leaves unescaped in a prompt.
        for line in stream:
            if line.strip():
                try:
                    value = json.loads(line.decode("utf-8"))
                except ValueError:
                    if growing and not line.endswith(b"\n"):
                        return
                    raise
                yield offset, value
            offset += len(line)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise RunError(f"{path} is missing; the command that writes it has not finished") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RunError(f"{path} is damaged ({error}); remove it and run that stage again") from None


def sha256_of_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sha256_of_json(value: Any) -> str:
    """A hash of a JSON value that does not depend on the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
