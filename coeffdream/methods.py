"""The names of methods, as far as they can be read without PEFT, which takes seconds to load."""

from __future__ import annotations

import re
from collections.abc import Sequence

from coeffdream.errors import quoted

NAME = re.compile(r"coeff|(coeff-)?(?!coeff)[a-z0-9_]{1,40}")
OPTION = re.compile(r"\w{1,80}=.{1,1000}")
LOW_RANK = ("lora", "dora")
# What our own train, of every projection of every attention layer.
OURS = {"full": ("weight", "bias"), "bitfit": ("bias",)}


def plain_method(method: str) -> str:
    """The method without "coeff-": what is trained beside alpha; nothing where alpha is alone."""
    return "" if method == "coeff" else method.removeprefix("coeff-")


def takes_loras_place(method: str) -> bool:
    """Whether a run's method is neither of the paper's nor what another tool trained."""
    return NAME.fullmatch(method) is not None and plain_method(method) not in ("", *LOW_RANK)


def method_problems(method: str, options: Sequence[str]) -> list[str]:
    """What can be said of a method and its options before PEFT says the rest, one line each."""
    if not NAME.fullmatch(method):
        return [
            f"--method {quoted(method)} is no method; write coeff, or [coeff-]NAME with NAME lora, dora, full, bitfit "
            "or a method of PEFT's, such as coeff-oft"
        ]
    found = [
        f"--method-option {quoted(each)} must be KEY=VALUE" for each in options if not OPTION.fullmatch(each)
    ]
    if options and plain_method(method) in ("", *LOW_RANK, *OURS):
        found.append(f"--method-option {quoted(options[0])} is for a method of PEFT's, which {method} is not")
    return found
