"""What a run was made with: versions and machine, and where reusable results are cached."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

PACKAGES = (
    "coeffdream",
    "torch",
    "diffusers",
    "transformers",
    "peft",
    "accelerate",
    "open_clip_torch",
    "vendi-score",
    "safetensors",
    "numpy",
    "scipy",
    "pillow",
)


def versions() -> dict[str, str]:
    """Installed version of every package that can change a result."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


@dataclass(frozen=True)
class Machine:
    """What a run was trained on; all None for one that trained nothing."""

    system: str | None = None
    processor: str | None = None
    cores: int | None = None
    device: str | None = None
    gpu: str | None = None
    precision: str | None = None


def machine() -> dict[str, Any]:
    return {"system": platform.platform(), "processor": platform.machine(), "cores": os.cpu_count()}


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")


def cache_folder() -> Path:
    """COEFFDREAM_CACHE, else ~/.cache/coeffdream. Everything in it can be made again."""
    return Path(os.environ.get("COEFFDREAM_CACHE") or Path.home() / ".cache" / "coeffdream")
