"""What was measured of mixed attention on this machine, in one small file of the cache."""

from __future__ import annotations

import contextlib
import importlib.metadata
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from filelock import FileLock

from coeffdream.attention.calibrate import Verdict
from coeffdream.checked import converted
from coeffdream.errors import RunError
from coeffdream.records.environment import cache_folder
from coeffdream.records.files import read_json, write_json

NAME = "attention.json"
PATIENCE = 60.0  # seconds for another process that measures the same


Cards = dict[str, dict[str, Verdict]]  # by card and versions, and there by shape class


def card_of(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return device.type


@dataclass(frozen=True)
class CalibrationFile:
    """Where nothing can be written, everything is measured again by the next process."""

    path: Path

    @classmethod
    def here(cls) -> CalibrationFile:
        return cls(cache_folder() / NAME)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """One process at a time, as far as the file system knows locks."""
        lock = FileLock(self.path.with_suffix(".lock"), timeout=PATIENCE)
        with contextlib.suppress(
            OSError, NotImplementedError
        ):  # of a file system without locks; Timeout is an OSError
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def read(self, device: torch.device) -> dict[str, Verdict]:
        """What is known of a device with the versions that are installed, by shape class."""
        return self._cards().get(_measured_with(device), {})

    def add(self, device: torch.device, name: str, verdict: Verdict) -> None:
        cards = self._cards()
        cards.setdefault(_measured_with(device), {})[name] = verdict
        self._write(cards)

    def forget(self, device: torch.device) -> None:
        """Have everything of this device measured again."""
        cards = self._cards()
        if cards.pop(_measured_with(device), None) is not None:
            self._write(cards)

    def _cards(self) -> Cards:
        try:
            return converted(Cards, read_json(self.path))
        except (RunError, ValueError, OSError):  # not there, damaged, another version's: measured again
            return {}

    def _write(self, cards: Cards) -> None:
        with contextlib.suppress(OSError):
            write_json(
                self.path,
                {card: {name: asdict(verdict) for name, verdict in of.items()} for card, of in cards.items()},
            )


def _measured_with(device: torch.device) -> str:
    """Everything that may change who wins or who is right."""
    versions = [f"torch {torch.__version__}"]
    for package in ("triton", "coeffdream"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions.append(f"{package} {importlib.metadata.version(package)}")
    return ", ".join([card_of(device), *versions])
