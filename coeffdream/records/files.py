"""Writing files so that a crash leaves either the old one or the new one, and hashing them."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import secrets
from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import Any

from coeffdream.errors import RunError, quoted
from coeffdream.records.reading import RECORD_LIMIT, decoded, opened, read_bytes

# `.STEM.xxxxxxxx.SUFFIX`, also of a file that was itself temporary.
LEFTOVER = re.compile(r"\.+(?P<stem>.+?)(\.[0-9a-f]{8})+(\.\w+)?")


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


def remove_leftovers(folder: Path, *, but: Container[str]) -> None:
    """Remove what processes that were killed left of `replacing` in `folder` and the folders in it.

    but: stems of files that somebody else may be writing there at this moment.
    """
    for path in [*folder.glob(".*"), *folder.glob("*/.*")]:
        leftover = LEFTOVER.fullmatch(path.name)
        if leftover and leftover["stem"] not in but and path.is_file():
            path.unlink(missing_ok=True)


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
    """The value in a JSON file. Raises RunError when it is missing or damaged (see `parse_json`)."""
    with _explained(path):
        return parse_json(decoded(read_bytes(path, limit=RECORD_LIMIT)))


def read_jsonl(path: Path) -> list[Any]:
    """One value per line of a JSONL file. Raises RunError when it is missing or damaged."""
    return [value for _, value in iter_jsonl(path)]


def iter_jsonl(path: Path, *, growing: bool = False) -> Iterator[tuple[int, Any]]:
    """The values of a JSONL file one by one, each with the byte at which its line begins.

    growing: the file is one that lines are appended to, so its last line may be half there; it is left out.
    Raises RunError when the file is missing or damaged.
    """
    offset = 0
    with _explained(path), opened(path, limit=RECORD_LIMIT) as stream:
        # Bytes: text would also be cut at U+2028 and U+0085, which JSON leaves unescaped in a prompt.
        for number, line in enumerate(stream, start=1):
            if line.strip():
                try:
                    value = parse_json(decoded(line))
                except ValueError as error:
                    if growing and not line.endswith(b"\n"):
                        return
                    raise ValueError(f"row {number}: {error}") from None
                yield offset, value
            offset += len(line)


def parse_json(text: str) -> Any:
    """A JSON value of finite numbers and of text that a file, a path and a terminal can take.

    Raises ValueError for anything else: NaN, Infinity, 1e999, a NUL, half of a surrogate pair, or lists
    within lists beyond what the parser takes.
    """
    try:
        value = _DECODER.decode(text)
        if _SUSPECT.search(text):
            _check_text(value)
    except RecursionError:
        raise ValueError("its lists or objects are nested too deeply") from None
    except json.JSONDecodeError:
        raise
    except ValueError as error:  # Python converts no integer of more than 4,300 digits
        raise ValueError(
            "a number of thousands of digits" if "int_max_str" in str(error) else error
        ) from None
    return value


# An escape that may stand for a NUL or a surrogate; pairs of surrogates are sound, so the value decides.
_SUSPECT = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits:.20} is beyond any number")
    return value


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)


def _check_text(value: Any) -> None:
    if isinstance(value, str):
        if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
            raise ValueError(f"{quoted(value)} holds a NUL or half of a surrogate pair")
    elif isinstance(value, dict):
        for key, each in value.items():
            _check_text(key)
            _check_text(each)
    elif isinstance(value, list):
        for each in value:
            _check_text(each)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    remedy = "put back a good copy, or remove it and run that stage again"
    try:
        yield
    except FileNotFoundError:
        raise RunError(f"{path} is missing; the command that writes it has not finished") from None
    except ValueError as error:  # JSONDecodeError, and a number of more digits than Python converts
        raise RunError(f"{path} is damaged ({error}); {remedy}") from None


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
