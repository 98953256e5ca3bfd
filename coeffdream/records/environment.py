"""What a run was made with: versions and machine, and where reusable results are cached."""

from __future__ import annotations

import os
import platform
import tempfile
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from coeffdream.errors import ConfigError

PACKAGES = (
    "coeffdream",
    "torch",
    "diffusers",
    "transformers",
    "peft",
    "accelerate",
    "bitsandbytes",
    "open_clip_torch",
    "vendi-score",
    "safetensors",
    "numpy",
    "scipy",
    "pillow",
)


def versions() -> dict[str, str]:
    """Installed version of every package that can change a result."""
    import importlib.metadata  # a tenth of what --help takes

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


def home_expanded(path: str) -> Path:
    """A path as typed, ~ in it being the home folder; left as it is where there is no such home."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # a container's user without HOME and without an entry in /etc/passwd
        return Path(path)


def cache_folder() -> Path:
    """COEFFDREAM_CACHE, else ~/.cache/coeffdream, else a private folder among the temporary ones.

    Everything in it can be made again. Raises ConfigError when the temporary one is not this user's.
    """
    if given := os.environ.get("COEFFDREAM_CACHE"):
        return Path(given)
    try:
        return Path.home() / ".cache" / "coeffdream"
    except RuntimeError:
        folder = Path(tempfile.gettempdir()) / "coeffdream"
    if not hasattr(os, "getuid"):  # Windows, where each user has temporary files of their own
        folder.mkdir(exist_ok=True)
        return folder
    folder = folder.with_name(f"coeffdream-{os.getuid()}")  # noqa: TID251
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():  # noqa: TID251
        raise ConfigError(f"{folder} belongs to somebody else; set COEFFDREAM_CACHE to a folder of yours")
    return folder
