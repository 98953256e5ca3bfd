"""The help of a command on 80 columns."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from typer.core import TyperCommand


class Command(TyperCommand):
    """A command whose help gives an option and its opposite one column: in two, long names would be cut."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        with _together(self.params):
            super().format_help(ctx, formatter)


@contextlib.contextmanager
def _together(options: list[Any]) -> Iterator[None]:
    """`--x`, `--no-x` as `--[no-]x` while the block lasts."""
    spelt = [(option, option.opts, option.secondary_opts) for option in options if option.secondary_opts]
    for option, opts, _ in spelt:
        option.opts, option.secondary_opts = [f"--[no-]{opts[0].removeprefix('--')}"], []
    try:
        yield
    finally:
        for option, opts, opposite in spelt:
            option.opts, option.secondary_opts = opts, opposite
