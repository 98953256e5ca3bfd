"""`coeffdream report`: everything about a run, or about a study, on one page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import filesize

from coeffdream.cli.terminal import loading, say, say_file, show_json
from coeffdream.errors import ConfigError, RunError

if TYPE_CHECKING:
    from coeffdream.records.study import StudyFolder


def command(
    path: Annotated[
        str | None,
        typer.Argument(
            metavar="[PATH]",
            help="A run's name or folder, or the folder of a study (bench concepts).",
            show_default="the latest run",
        ),
    ] = None,
    set_name: Annotated[
        str | None,
        typer.Option("--set", help="Which set of a run's pictures.", show_default="the newest benchmark"),
    ] = None,
    runs: Annotated[Path, typer.Option(help="Where run folders are kept.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write one HTML page: of a run its scores, pictures, loss, coefficients and settings; of a study its finding.

    Example: coeffdream report study
    """
    from coeffdream.records.run import find_run
    from coeffdream.records.study import StudyFolder

    study = StudyFolder(Path(path).resolve()) if path is not None else None
    if study is not None and study.record_file.is_file():
        if set_name is not None:
            raise ConfigError(
                f"--set {set_name}: {path} is a study, whose page shows the sets that were scored; "
                "leave --set out, or name one of its runs"
            )
        _of_study(study, as_json)
        return
    if study is not None and study.path.is_dir() and not _holds_run(study.path, runs / str(path)):
        raise RunError(
            f"{path} is neither a run (no run.json in it) nor a study (no study.json); name a run's folder or the "
            "folder that coeffdream bench concepts --study was given"
        )
    folder = find_run(path, runs)

    with loading("numpy", "matplotlib"):
        from coeffdream.report.page import write_report

        file, page = write_report(folder, set_name)
    if as_json:
        show_json(
            {
                "run": str(folder.path),
                "report": str(file),
                "bytes": file.stat().st_size,
                "state": page.state,
            }
        )
        return
    if page.state not in ("complete", "base", "several"):
        say(f"{folder.path.name}: {page.status}")
    say_file(f"report of {folder.path.name}", file, filesize.decimal(file.stat().st_size))


def _holds_run(*folders: Path) -> bool:
    return any((folder / "run.json").is_file() for folder in folders)


def _of_study(folder: StudyFolder, as_json: bool) -> None:
    with loading("numpy", "scipy", "matplotlib"):
        from coeffdream.report.study.study_page import write_study_report

        file, page = write_study_report(folder)
    headline = page.compared.finding.headline if page.compared else [page.why_not]
    if as_json:
        show_json(
            {
                "study": str(folder.path),
                "report": str(file),
                "bytes": file.stat().st_size,
                "cells": page.cells,
                "finished": len(page.finished),
                "finding": headline,
                "label": page.label,
            }
        )
        return
    if page.unfinished:
        say(
            f"{len(page.unfinished)} of {page.cells} cells are not finished; the page names them and how to go on"
        )
    if page.label:
        say(page.label)
    say(" ".join(headline))
    say_file(f"report of {folder.path.name}", file, filesize.decimal(file.stat().st_size))
