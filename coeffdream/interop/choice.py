"""An adapter file with its weight, as it is typed: FILE or FILE:WEIGHT."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from coeffdream.errors import ConfigError

# The file of another tool that a run made by `coeffdream import` holds in place of what it learned.
IMPORTED_FILE = "imported.safetensors"


@dataclass(frozen=True)
class LoraChoice:
    """One --lora."""

    file: Path
    weight: float = 1.0


def parse_lora(typed: str) -> LoraChoice:
    """Raises ConfigError for a weight that is no number, or a file that is not there."""
    name, weight = weighted("--lora", "FILE", typed)
    file = Path(name).expanduser()
    if not file.is_file():
        raise ConfigError(f"--lora {name} does not exist")
    return LoraChoice(file, weight)


def weighted(flag: str, what: str, typed: str) -> tuple[str, float]:
    """NAME or NAME:WEIGHT, as it was given to `flag`. Raises ConfigError for a weight that is no finite number."""
    name, colon, weight = typed.rpartition(":")
    if not colon or name == "hub" or Path(typed).exists():  # hub:OWNER/NAME has a colon of its own
        return typed, 1.0
    try:
        value = float(weight)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ConfigError(
            f"{flag} {typed}: {weight!r} is no weight; write {flag} {what} or {flag} {what}:0.7"
        )
    return name, value
