"""torch.compile over the repeated blocks of a UNet: tried before the work begins, and kept where it is faster.

One block is compiled once for all its repetitions, whole, so that a part that cannot be compiled is an error and not a
slower way in silence.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import torch

from coeffdream.backbones.processes import of_the_first
from coeffdream.config import Compile
from coeffdream.errors import ConfigError, out_of_memory

UNTIMED = 3  # the first compiles and allocates, and on a card the second records what follows
TIMED = 10


def settle(
    unet: Any,
    wanted: Compile,
    seconds: Callable[[str, int], list[float]],
    work: str,
    remark: Callable[[str], None],
) -> bool:
    """Whether the blocks of `unet` are compiled from here on; they are as they were where not.

    seconds: does so many passes under a word for what goes on, and says what each took. "auto" compares both ways, and
    `remark` hears what it found for `work` ("training"). Raises ConfigError where "on" cannot be.
    """
    if wanted == "off":
        return False
    measured = wanted == "auto"
    plain = seconds("timing as written", UNTIMED + TIMED) if measured else []
    try:
        unet.compile_repeated_blocks(fullgraph=True)
        compiled = seconds("compiling", UNTIMED + TIMED if measured else 1)
    # Of dynamo, of inductor, of the system's compiler: whatever it is, these blocks cannot be compiled here.
    except Exception as error:
        take_back(unet)
        if out_of_memory(error):
            raise
        why = f"the UNet's blocks cannot be compiled here ({_first_line(error)})"
        if not measured:
            raise ConfigError(f"--compile on: {why}; leave it out") from error
        remark(f"--compile auto: {why}; {work} goes on without")
        return False
    if not measured:
        return True
    before, after = (statistics.median(each[UNTIMED:]) for each in (plain, compiled))
    # One word for all processes of a run.
    faster = bool(of_the_first(torch.tensor([after < before])).item())
    remark(
        f"--compile auto: a pass takes {after * 1000:.0f} ms compiled, {before * 1000:.0f} ms as written; "
        f"{work} goes on {'compiled' if faster else 'as written'}"
    )
    if not faster:
        take_back(unet)
    return faster


def take_back(unet: torch.nn.Module) -> None:
    """Have every module of `unet` run as it is written."""
    # torch has no word for the opposite of Module.compile.
    for module in unet.modules():
        module._compiled_call_impl = None


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[
        :200
    ]
