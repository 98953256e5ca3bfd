"""`python -m coeffdream` is the same program as the `coeffdream` script."""

from __future__ import annotations

import signal
import sys

from coeffdream import stopping


def main() -> None:
    """Signals are heard from here on: the imports behind the command line take longer than one may think."""
    try:
        with stopping.heard():
            from coeffdream.cli.app import main as command_line

            command_line()
    except stopping.Stopped as stop:
        status = stopping.status_of(stop)
        print(f"error: {stopping.line_of(status)}", file=sys.stderr)
        sys.exit(status)
    finally:
        # The work is done and its status stands; only the libraries shut down.
        for number in stopping.SIGNALS:
            signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    main()
