"""Commands of coeffdream one after another in one process, as `demo` and the workers of a study run them."""

from __future__ import annotations

import sys


def perform(arguments: list[str]) -> int:
    """`coeffdream ARGUMENTS` in this process; its exit status."""
    from coeffdream.cli.app import main

    sys.argv, status = ["coeffdream", *arguments], 0
    try:
        main()
    except SystemExit as ended:
        status = int(ended.code or 0)
    return status
