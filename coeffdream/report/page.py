"""One self-contained HTML page about a run."""

from __future__ import annotations

from pathlib import Path

from coeffdream.records.run import RunFolder
from coeffdream.report.gather import gather
from coeffdream.report.render import FILE, render
from coeffdream.report.view import Page


def write_report(run: RunFolder, set_name: str | None = None) -> tuple[Path, Page]:
    """Write `runs/NAME/report.html`; its path, and what stands on it.

    set_name: the set of pictures to show; None takes the newest benchmark drawn with the adapter.

    The page needs no network and no other file, but links the full pictures in the run's folder. Raises
    RunError for a set that is not there and for records that are damaged.
    """
    page = gather(run, set_name)
    read = None
    if page.scores:
        from coeffdream.report.readings import about  # statistics take a second to load

        read = about(page.scores)
    return render("report.html", run.path / FILE, page=page, run=page.run, read=read), page
