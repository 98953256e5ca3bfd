"""`coeffdream demo`: what the tool does from end to end, with the embedded base."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coeffdream import warm
from coeffdream.cli.terminal import loading, say


def command(
    concept: Annotated[str, typer.Argument(help="A shipped concept, or a folder with a few photos.")] = "cat",
    runs: Annotated[Path, typer.Option(help="Where run folders are kept.")] = Path("runs"),
) -> None:
    """See it all in minutes: train, draw, score and report with the miniature of SDXL that comes along.

    It prints the four commands that it runs, in one process. Nothing is downloaded, and no GPU is needed. What a miniature
    draws, at 64 pixels, shows how the tool works, and not how good SDXL is.

    Example: coeffdream demo
    """
    from coeffdream.cli.workers import perform
    from coeffdream.records.commands import command_line

    commands = (
        ["train", "--concept", concept, "--base", "toybox", "--name", "demo"],
        ["generate", "--floor"],
        ["eval"],
        ["report"],
    )
    where = [] if runs == Path("runs") else ["--runs", str(runs)]
    warm.keep(None)
    try:
        for command in commands:
            words = [*command, *where]
            say()
            say(f"$ {command_line(*words)}")
            with loading("torch"):
                warm.as_if_new()
            if status := perform(words):
                raise typer.Exit(status)
    finally:
        warm.keep_nothing()
