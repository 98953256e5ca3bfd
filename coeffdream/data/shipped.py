"""Where the prompt lists and concepts that come with coeffdream lie."""

from __future__ import annotations

from pathlib import Path

from coeffdream.errors import ConfigError
from coeffdream.records.environment import home_expanded

_PACKAGE = Path(__file__).resolve().parents[1]
# An installed wheel holds them inside the package (see force-include in pyproject.toml); a checkout
# has them beside it. In a wheel the second root is site-packages, so it must come second.
_ROOTS = (_PACKAGE / "shipped", _PACKAGE.parent)


def shipped(relative: str) -> Path:
    """The path of a shipped file or folder, such as "prompts/live.txt" or "concepts".

    Raises ConfigError when nothing of that name was shipped.
    """
    for root in _ROOTS:
        if (root / relative).exists():
            return root / relative
    raise ConfigError(
        f"{relative} does not come with this coeffdream (looked in {_ROOTS[0]} and {_ROOTS[1]}); "
        "check the name, or install coeffdream again if it should be there"
    )


def concept_folder(name: str) -> Path:
    """The folder that --concept names: a path, or else the name of a shipped concept, such as "cat"."""
    path = home_expanded(name)
    if not path.exists() and path.name == name:
        for root in _ROOTS:
            if (root / "concepts" / name).is_dir():
                return root / "concepts" / name
    return path
