"""Personalise SDXL from a handful of photos with Coeff-Tuning, and measure what it did.

What is listed here is the Python API. Every name is fetched when it is first used, so that `import coeffdream`
is light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "load": "coeffdream.api",
    "unload": "coeffdream.api",
    "train": "coeffdream.api",
    "generate": "coeffdream.api",
    "score": "coeffdream.api",
    "compare_runs": "coeffdream.api",  # coeffdream.compare is the room
    "mixed_attention": "coeffdream.attention",
    "add_coefficients": "coeffdream.adapters.hosts.coefficients",
    "coefficients_of": "coeffdream.adapters.hosts.coefficients",
    "remove_coefficients": "coeffdream.adapters.hosts.coefficients",
    "save_coefficients": "coeffdream.adapters.hosts.files",
    "load_coefficients": "coeffdream.adapters.hosts.files",
    "SubspaceCoefficients": "coeffdream.adapters.coefficients",
    "CoeffdreamError": "coeffdream.errors",
    "UserError": "coeffdream.errors",
}

__all__ = [
    "CoeffdreamError",
    "SubspaceCoefficients",
    "UserError",
    "__version__",
    "add_coefficients",
    "coefficients_of",
    "compare_runs",
    "generate",
    "load",
    "load_coefficients",
    "mixed_attention",
    "remove_coefficients",
    "save_coefficients",
    "score",
    "train",
    "unload",
]

if TYPE_CHECKING:
    from coeffdream.adapters.coefficients import SubspaceCoefficients
    from coeffdream.adapters.hosts.coefficients import add_coefficients, coefficients_of, remove_coefficients
    from coeffdream.adapters.hosts.files import load_coefficients, save_coefficients
    from coeffdream.api import compare_runs, generate, load, score, train, unload
    from coeffdream.attention import mixed_attention
    from coeffdream.errors import CoeffdreamError, UserError


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
