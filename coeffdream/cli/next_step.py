"""The one command that comes next, told at the end of every other, down to the report."""

from __future__ import annotations

from coeffdream.cli.terminal import say
from coeffdream.records.commands import argument_of, benchmark_command, command_line
from coeffdream.records.images import find_set
from coeffdream.records.run import RunFolder, RunRecord


def tell_next(*words: object) -> None:
    """`coeffdream WORDS...`, as it is to be typed."""
    say(f"next: {command_line(*words)}")


def tell_next_of_pictures(run: RunFolder, record: RunRecord) -> None:
    """After pictures were drawn: their scores, once the whole benchmark is there as the run draws it."""
    newest = find_set(run.images, None).read_set()
    scored = newest.kind == "benchmark" and (newest.with_adapter or record.status == "base")
    if scored:
        tell_next("eval", *argument_of(run))
    else:
        say(f"next: {benchmark_command(run, record)}")


def tell_report(run: RunFolder) -> None:
    tell_next("report", *argument_of(run))
