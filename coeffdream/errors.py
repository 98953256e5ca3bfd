"""Every error that coeffdream raises on purpose, as one tree.

A message has three parts: what was wrong with the value received, where, and what to do about it.
The command line prints it as it is and ends with `exit_status`; nothing else decides that status.
"""

from __future__ import annotations

import reprlib
from collections.abc import Sequence


class CoeffdreamError(Exception):
    """The root of the tree. Raised itself never; caught by the command line."""

    exit_status = 1


class UserError(CoeffdreamError):
    """The request cannot be served as it was made; asking differently can."""

    exit_status = 2


class ConfigError(UserError):
    """An option, a preset or a TOML file holds values that make no run."""


class ConceptError(UserError):
    """The concept folder cannot be learned from."""


class PromptError(UserError):
    """A prompt, or a file of prompts, cannot be drawn."""


class BaseModelError(UserError):
    """The base model is not there, not reachable, or not of the SDXL family."""


class AttentionError(UserError):
    """An attention layer, or a call of `mixed_attention`, that cannot be served."""


class AdapterError(UserError):
    """Adapter files that are missing, incomplete, altered, or made for another architecture."""


class RunError(UserError):
    """A run folder that does not exist or does not hold what was asked of it."""


class HubError(UserError):
    """A repository of the model hub that cannot be read or written, or does not hold what was asked of it."""


class InUseError(UserError):
    """A run, a set of images or a study that another process is working in."""


class ScoreError(UserError):
    """A set of images that cannot be scored as it stands."""


class NonFiniteLossError(CoeffdreamError):
    """Training met a loss that is not a number; the run stops before the weights are touched."""


class DivergedError(CoeffdreamError):
    """Training whose loss ran away, or whose weights went beyond any use; none of them is kept."""


# What torch's allocator of the CPU says on Windows, and elsewhere.
NO_MEMORY = ("not enough memory", "can't allocate memory")
MOST_LISTED = 10  # of a long list in a message
MOST_QUOTED = 80  # characters of a value in a message


def out_of_memory(error: BaseException) -> bool:
    """Whether a device or the machine had no memory left. torch has a class of its own only for the former."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and any(words in str(error) for words in NO_MEMORY))
    )


def together(heading: str, problems: Sequence[str]) -> str:
    """One message out of several problems, so that a person repairs them in one go; the first ten of many."""
    if len(problems) == 1:
        return f"{heading}: {problems[0]}"
    shown = [f"  - {line}" for line in problems[:MOST_LISTED]]
    if len(problems) > MOST_LISTED:
        shown.append(f"  - and {len(problems) - MOST_LISTED:,} more")
    return "\n".join([f"{heading}: {len(problems):,} problems", *shown])


def quoted(value: object) -> str:
    """A value that came in, as it stands in a message: escaped, and at most 80 characters of it."""
    if isinstance(value, str):
        text = repr(value[: MOST_QUOTED + 1])
    else:
        reader = reprlib.Repr()
        reader.maxstring = reader.maxother = MOST_QUOTED
        try:
            text = reader.repr(value)
        except ValueError:  # Python refuses to write out integers of many digits
            text = "a number of thousands of digits"
    return text if len(text) <= MOST_QUOTED + 2 else f"{text[: MOST_QUOTED - 1]}…"


def listed(names: Sequence[str]) -> str:
    """Names in a message: the first ten and how many more."""
    more = len(names) - MOST_LISTED
    return ", ".join(names[:MOST_LISTED]) + (f" and {more:,} more" if more > 0 else "")


def counted(count: int, what: str) -> str:
    """ "1 photo", "5 photos"."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
