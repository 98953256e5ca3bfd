"""Our own safetensors files: a header checked before a tensor is read, equal content in equal bytes.

The layout (https://huggingface.co/docs/safetensors): 8 bytes with the header's length, little-endian; the
header, JSON padded with spaces; the tensors, without gaps. The library writes metadata in an order of
chance, so the header is written here, in one order, and holds a digest of the whole file.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from coeffdream.records.files import replacing

DIGEST = "coeffdream.digest"
# SDXL's UNet, all of its 1,680 tensors by name, takes a fifth of a MiB.
LONGEST_HEADER = 16 << 20
ITEM_BYTES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64"), 8),
}
# As numpy and as a header calls them. Learned values are float32; a method may keep the places of some as well.
WRITTEN = {np.dtype(np.float32): "F32", np.dtype(np.int32): "I32", np.dtype(np.int64): "I64"}


@dataclass(frozen=True)
class TensorFile:
    """A safetensors file whose header has been checked; no tensor of it has been read.

    `entries`: dtype, shape and place of each tensor, in the order in which they lie in the file.
    """

    path: Path
    entries: dict[str, dict[str, Any]]
    metadata: dict[str, str]
    data_begins: int

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(entry["shape"]) for name, entry in self.entries.items()}

    @property
    def dtypes(self) -> dict[str, str]:
        return {name: entry["dtype"] for name, entry in self.entries.items()}

    def check_digest(self) -> bool:
        """Whether the file holds a digest. Raises ValueError when it is not that of the content."""
        if DIGEST not in self.metadata:
            return False
        if self.metadata[DIGEST] != self._digest():
            raise ValueError("it is not as it was written: its digest is that of another content")
        return True

    def _digest(self) -> str:
        """sha256 of this file written in our order without its digest; read a block at a time."""
        metadata = {key: value for key, value in self.metadata.items() if key != DIGEST}
        digest = hashlib.sha256(_header(self.entries, metadata))
        with self.path.open("rb") as stream:
            stream.seek(self.data_begins)
            while block := stream.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()

    def read(self) -> Iterator[tuple[str, np.ndarray]]:
        """Each tensor of a file that `write_tensors` wrote, one at a time. Raises ValueError."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path, "np") as opened:
                for name in self.entries:
                    yield name, opened.get_tensor(name)
        except SafetensorError as error:
            raise ValueError(str(error)) from None


def open_tensors(path: Path) -> TensorFile:
    """Check everything that a safetensors file says about itself against its size, reading no tensor.

    Raises ValueError with what is wrong, OSError for a file that cannot be opened.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("it is no regular file")
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if status.st_size < 8 + length or length < 2:
            raise ValueError("it is cut short, or something else under this name")
        if length > LONGEST_HEADER:
            raise ValueError(f"its header would be {length:,} bytes long, more than {LONGEST_HEADER:,}")
        text = stream.read(length)
    try:
        header = json.loads(text.decode(), object_pairs_hook=_without_twins, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("its header is nested too deeply") from None
    if not isinstance(header, dict):
        raise ValueError("its header is no JSON object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its metadata is not made of text")
    for name, entry in header.items():
        _check_entry(name, entry)
    entries = _in_order(header)
    end = 0
    for name, entry in entries.items():
        if entry["data_offsets"][0] != end:
            raise ValueError(f"{name:.80} does not begin where the tensor before it ends")
        end = entry["data_offsets"][1]
    if 8 + length + end != status.st_size:
        raise ValueError(
            f"it holds {status.st_size - 8 - length:,} bytes of tensors where its header says {end:,}"
        )
    return TensorFile(path, entries, metadata, 8 + length)


def write_tensors(
    path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
) -> None:
    """Write arrays of float32 or of whole numbers; equal ones and equal metadata make equal bytes. Read back before
    it counts.

    Raises OSError when the disk is full or does not give back what was written.
    """
    from safetensors.numpy import save

    if wrong := [name for name, array in arrays.items() if array.dtype not in WRITTEN]:
        raise TypeError(f"{wrong[0]} is {arrays[wrong[0]].dtype}; only float32 and whole numbers are written")
    plain = save({name: np.asarray(array, order="C") for name, array in arrays.items()})
    begins = 8 + int.from_bytes(plain[:8], "little")
    entries, data = _in_order(json.loads(plain[8:begins])), memoryview(plain)[begins:]
    digest = hashlib.sha256(_header(entries, metadata or {}))
    digest.update(data)
    header = _header(entries, {**(metadata or {}), DIGEST: digest.hexdigest()})
    with replacing(path) as temporary:
        with temporary.open("wb") as stream:
            stream.write(header)
            stream.write(data)
        try:
            open_tensors(temporary).check_digest()
        except ValueError:
            raise OSError(
                errno.EIO, "the disk does not give back what was written to it", str(path)
            ) from None


def _in_order(entries: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return dict(sorted(entries.items(), key=lambda item: (item[1]["data_offsets"], item[0])))


def _header(entries: Mapping[str, Mapping[str, Any]], metadata: Mapping[str, str]) -> bytes:
    """Length and header: metadata by key, tensors in the order of their data, padded to a multiple of 8."""
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    for name, entry in entries.items():
        header[name] = {key: entry[key] for key in ("dtype", "shape", "data_offsets")}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _check_entry(name: str, entry: Any) -> None:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{name:.80} is not described by dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise ValueError(f"{name:.80} is of the unknown dtype {dtype!r:.80}")
    for what, values in (("shape", shape), ("data_offsets", offsets)):
        if not isinstance(values, list) or not all(type(each) is int and each >= 0 for each in values):
            raise ValueError(f"{name:.80} has the {what} {values!r:.80}")
    if len(offsets) != 2 or offsets[1] - offsets[0] != math.prod(shape) * ITEM_BYTES[dtype]:
        raise ValueError(f"{name:.80} of shape {shape!r:.80} does not fill the bytes {offsets!r:.80}")


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("its header names something twice")
    return made


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"its header holds {text}")
