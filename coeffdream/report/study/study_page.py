"""One self-contained HTML page about a study."""

from __future__ import annotations

from pathlib import Path

from coeffdream.compare.comparison_table import caption
from coeffdream.compare.statistics import LEVEL
from coeffdream.records.study import StudyFolder
from coeffdream.report.render import FILE, render
from coeffdream.report.study.gather_study import StudyPage, gather_study


def write_study_report(folder: StudyFolder) -> tuple[Path, StudyPage]:
    """Write `STUDY/report.html`; its path, and what stands on it.

    The page needs no network and no other file, but links the full pictures in the cells' folders. Raises
    RunError for records that are damaged; unfinished cells are named on the page.
    """
    page = gather_study(folder)
    file = render(
        "study.html",
        folder.path / FILE,
        page=page,
        caption=caption(page.compared.comparison)[bool(page.label) :] if page.compared else [],
        level=f"{100 * LEVEL:g}",
    )
    return file, page
