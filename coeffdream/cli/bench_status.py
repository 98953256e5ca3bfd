"""`coeffdream bench status`: how far a study is, from a second terminal."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coeffdream.cli.encoding import printable
from coeffdream.cli.terminal import last_progress, near, show, show_json
from coeffdream.errors import counted, listed

if TYPE_CHECKING:
    from coeffdream.bench.status import StudyStatus


def status(
    study: Annotated[Path, typer.Argument(help="The study's folder.")] = Path("study"),
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Say how far a study is: cells done, what each running one is at, and the time left.

    Example: coeffdream bench status study
    """
    from coeffdream.bench.status import study_status

    found = study_status(study, last_progress)
    if as_json:
        show_json(dataclasses.asdict(found))
        return
    print(printable(_summary(study, found)))
    if found.running:
        from coeffdream.tables import table

        shown = table()
        for column in ("cell", "command", "how far", "for"):
            shown.add_column(column, no_wrap=column == "cell")
        for each in found.running:
            far = f"{each.stage} {each.steps}/{each.of}" if each.of else ""
            shown.add_row(
                each.cell, f"{each.command} ({each.number} of {each.commands})", far, _time(each.seconds)
            )
        show(shown)
    if found.failed:
        show(
            f"failed: {listed(found.failed)}; the same command tries them again, their logs are in {near(study / 'logs')}"
        )


def _summary(study: Path, found: StudyStatus) -> str:
    said = [f"{found.done} of {counted(found.cells, 'cell')} done"]
    if found.by is None:
        said.append("complete" if found.done == found.cells else "nobody is at work in it")
    else:
        said.append(f"held by {found.by}")
        said += [found.where] if found.where else []
        said.append("time left not known yet" if found.left is None else f"about {_time(found.left)} left")
    return f"{near(study.resolve())}: {'; '.join(said)}"


def _time(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
