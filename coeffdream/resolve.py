"""Where the value of every option of `train` comes from.

Values come in layers, later ones winning: the dataclass's defaults, what the base model recommends,
the preset, a TOML file, the command line.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from coeffdream.checked import did_you_mean, ill_typed
from coeffdream.config import TrainConfig, flag_of
from coeffdream.errors import ConfigError, quoted, together
from coeffdream.presets import PRESETS


@dataclass(frozen=True)
class Resolved:
    """A config, and for each field set by anything but its default, what set it."""

    config: TrainConfig
    origins: dict[str, str]


def resolve(
    command_line: Mapping[str, Any],
    file: Mapping[str, Any] | None = None,
    recommended: Mapping[str, Any] | None = None,
) -> Resolved:
    """Lay the sources over each other. Raises ConfigError with every problem found.

    `command_line` holds only what was typed, `file` what --config held, `recommended` what the base
    model asks for.
    """
    file = {key.replace("-", "_"): value for key, value in (file or {}).items()}
    if "class" in file:
        file["class_noun"] = file.pop("class")
    given = {**(recommended or {}), **file, **command_line}
    problems = [*_unknown(file), *(f"{flag_of(name)} {why}" for name, why in ill_typed(TrainConfig, given))]
    preset = command_line.get("preset", file.get("preset"))
    layers = {
        "base": recommended or {},
        f"preset {preset}": PRESETS.get(str(preset), {}),
        "config file": file,
        "command line": command_line,
    }
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for origin, layer in layers.items():
        values.update(layer)
        origins.update(dict.fromkeys(layer, origin))
    if not problems:
        config = TrainConfig(**values)
        problems = config.problems()
    if problems:
        raise ConfigError(together("these options make no run", problems))
    return Resolved(config, origins)


def _unknown(values: Mapping[str, Any]) -> list[str]:
    known = [each.name for each in dataclasses.fields(TrainConfig)]
    problems = []
    for name in values:
        if name not in known:
            hint = did_you_mean(name, known) or f"; known: {', '.join(known)}"
            problems.append(f"the config file sets {quoted(name)}, which is no option{hint}")
    return problems
