"""How much may be asked for, and patterns that cost no more than they look: met before memory or time is spent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from coeffdream.errors import quoted

# Beyond these no machine draws or trains; met before anything of that size is made.
MOST = {
    "alpha_groups": 100,
    "rank": 2048,  # the widest layer of SDXL has 2,048 inputs
    "steps": 10_000_000,
    "batch_size": 1024,
    "grad_accum": 100_000,
    "prior_images": 100_000,
    "resolution": 8192,
    "seed": 2**63 - 1,
}
LARGEST = 1_000_000  # of a learning rate, a weight, a scale
RUN_NAME = re.compile(r"\w[\w.-]{0,99}")


def out_of_range(flag: str, value: int | None, *, at_most: int, at_least: int | None = None) -> list[str]:
    """What is wrong with a whole number: nothing, or one line."""
    if value is not None and at_least is not None and value < at_least:
        return [f"{flag} {quoted(value)} must be at least {at_least}"]
    if value is not None and value > at_most:
        return [f"{flag} {quoted(value)} must be at most {at_most:,}"]
    return []


def counts_out_of_range(options: Any, most: Mapping[str, int]) -> list[str]:
    """What is wrong with the fields of `options` that `most` names: whole numbers from 1 to that."""
    return [
        problem
        for name, largest in most.items()
        for problem in out_of_range(
            f"--{name.replace('_', '-')}", getattr(options, name), at_least=1, at_most=largest
        )
    ]


def rates_out_of_range(options: Any, *names: str) -> list[str]:
    """The same of learning rates, each of which may be None."""
    return [
        f"--{name.replace('_', '-')} {rate} must be a positive number, at most 10"
        for name in names
        if (rate := getattr(options, name)) is not None and not 0 < rate <= 10
    ]


def layer_pattern(text: str) -> Any:
    """A compiled pattern for module paths, whose `search` takes time linear in the path's length.

    Python's own `re` can be kept busy for years by a pattern of ten characters. Raises ValueError.
    """
    import re2

    options = re2.Options()
    options.log_errors = False
    options.max_mem = 1 << 20  # bytes; a larger pattern is refused
    try:
        return re2.compile(text, options)
    except re2.error as error:
        reason = error.args[0] if error.args else error
        raise ValueError(
            reason.decode(errors="replace")[:100] if isinstance(reason, bytes) else reason
        ) from None
