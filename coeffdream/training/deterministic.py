"""Training on a card so that a repeated run is equal to the last bit, as it is on a CPU."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from coeffdream.errors import ConfigError


@contextlib.contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """In the block torch takes only algorithms that always add in the same order.

    Raises ConfigError for an operation that has none on this device.
    """
    if not wanted:
        yield
        return
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    torchs: Any = torch.utils.deterministic  # a module whose attribute it adds as it is imported
    filled = torchs.fill_uninitialized_memory
    # A warning would not do: plain attention then stays as it is.
    torch.use_deterministic_algorithms(True)
    torchs.fill_uninitialized_memory = False
    try:
        yield
    except RuntimeError as error:
        if "deterministic" not in str(error).lower():
            raise
        raise ConfigError(
            f"{str(error).splitlines()[0][:200]}; --no-deterministic trains without repeatable bits"
        ) from None
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torchs.fill_uninitialized_memory = filled
