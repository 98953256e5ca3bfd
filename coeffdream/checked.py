"""Values from outside, such as JSON and TOML, against the types that they are meant to have. msgspec checks them.

It reads into plain frozen dataclasses, is strict about bool, int and float, names the path of what is wrong, and
is imported in a tenth of a second, if at all: --help does without. What it passes over, unknown keys, is found here.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from coeffdream.errors import quoted


def converted(kind: Any, value: Any) -> Any:
    """`value` as `kind`, which may be a dataclass or hold some. Keys that a dataclass lacks are passed over.

    Raises ValueError in one line: where in the value the wrong one lies, what it is, and what it should be.
    """
    import msgspec

    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise ValueError(_told(str(error).replace("`", ""), value)) from None


def _told(error: str, value: Any) -> str:
    what, _, path = error.partition(" - at $")
    path = path.lstrip(".")
    if what.startswith("Object missing required field "):
        return f"{path} lacks {what.split()[-1]}".lstrip()
    for step in re.findall(r"[^.\[\]]+", path.partition("[...]")[0]):
        value = value[int(step)] if isinstance(value, list) else value[step]
    found = "" if isinstance(value, (dict, list)) else f" is {value!r:.60}"
    return f"{path}{found}: {what[0].lower()}{what[1:]}".lstrip(": ")


def ill_typed(kind: Any, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The name of each value that cannot stand in the field of that name, and why."""
    for name, hint in get_type_hints(kind, include_extras=True).items():
        try:
            if name in values:
                converted(hint, values[name])
        except ValueError:
            yield name, f"{values[name]!r:.60} is not {_described(hint)}"


def _described(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(get_args(hint))
    if get_origin(hint) is Annotated:
        return "a positive " + _described(get_args(hint)[0]).removeprefix("a ")
    kinds = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    return kinds.get(hint) or " or ".join(
        _described(part) for part in get_args(hint) if part is not type(None)
    )


def unknown_keys(kind: Any, value: Any, path: str = "") -> Iterator[str]:
    """The path of every key that `kind`, or a dataclass inside it, lacks, with the nearest name that there is."""
    if isinstance(value, list) and get_origin(kind) is list:
        for index, each in enumerate(value):
            yield from unknown_keys(get_args(kind)[0], each, f"{path}[{index}]")
    elif isinstance(value, dict) and dataclasses.is_dataclass(kind):
        for key, each in value.items():
            named = key if re.fullmatch(r"[\w-]{1,80}", key) else quoted(key)
            place = f"{path}.{named}".lstrip(".")
            if key in _types(kind):
                yield from unknown_keys(_types(kind)[key], each, place)
            else:
                yield f"{place}{did_you_mean(key, _types(kind))}"
    else:
        for part in get_args(kind):  # X | None
            yield from unknown_keys(part, value, path)


_types: Callable[[Any], dict[str, Any]] = cache(get_type_hints)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint at the known name that is nearest; nothing when none is near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""
