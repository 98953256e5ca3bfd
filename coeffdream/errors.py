"""Every error that coeffdream raises on purpose, as one tree.

A message has three parts: what was wrong with the value received, where, and what to do about it.
The command line prints it as it is and ends with `exit_status`; nothing else decides that status.
"""

from __future__ import annotations

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


class InUseError(UserError):
    """A run, a set of images or a study that another process is working in."""


class ScoreError(UserError):
    """A set of images that cannot be scored as it stands."""


class NonFiniteLossError(CoeffdreamError):
    """Training met a loss that is not a number; the run stops before the weights are touched."""


class DivergedError(CoeffdreamError):
    """Training whose loss ran away, or whose weights went beyond any use; none of them is kept."""


def together(heading: str, problems: Sequence[str]) -> str:
    """One message out of several problems, so that a person repairs them in one go."""
    if len(problems) == 1:
        return f"{heading}: {problems[0]}"
    return "\n".join([f"{heading}: {len(problems)} problems", *(f"  - {line}" for line in problems)])
