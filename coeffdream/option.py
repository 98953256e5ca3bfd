"""How a dataclass says which of its fields are options of a command."""

from __future__ import annotations

import dataclasses
from dataclasses import field
from typing import Any


def option(
    default: Any,
    text: str,
    *,
    flag: str | None = None,
    group: str | None = None,
    shown: str | None = None,
    switch: bool = False,
) -> Any:
    """A field that is an option of a command. `shown`: the default in words, where None stands for another's;
    `switch`: a bool without an opposite."""
    metadata = {"help": text, "flag": flag, "group": group, "shown": shown, "switch": switch}
    if isinstance(default, list):  # an option to be given several times
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


def default_of(option: dataclasses.Field[Any]) -> Any:
    """The default of a field; of a list, which dataclasses make anew each time, an empty one."""
    return [] if option.default is dataclasses.MISSING else option.default
