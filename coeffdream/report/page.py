"""One self-contained HTML page about a run, and what it shares with the page about a study."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from coeffdream import __version__
from coeffdream.records.environment import now
from coeffdream.records.files import write_text
from coeffdream.records.run import RunFolder
from coeffdream.report.gather import gather
from coeffdream.report.readings import INTERVALS, cards, intervals, readings, table

FILE = "report.html"


def write_report(run: RunFolder, set_name: str | None = None) -> Path:
    """Write `runs/NAME/report.html` and return its path.

    set_name: the set of pictures to show; None takes the newest benchmark drawn with the adapter.

    The page needs no network and no other file, but links the full pictures in the run's folder. Raises
    RunError for a set that is not there and for records that are damaged.
    """
    page = gather(run, set_name)
    scores = page.scores
    estimates = intervals(scores) if scores else {}
    headings, rows = table(scores, estimates) if scores else ([], [])
    return render(
        "report.html",
        run.path / FILE,
        page=page,
        run=page.run,
        cards=cards(scores, estimates) if scores else [],
        readings=readings(scores) if scores else [],
        headings=headings,
        rows=rows,
        how_intervals=INTERVALS if any(each.low is not None for each in estimates.values()) else "",
    )


def render(template: str, file: Path, **values: Any) -> Path:
    """Fill a template with these values and the style and script that all pages share; write it to `file`."""
    script = _asset("report.js")
    html = _environment().get_template(template).render(
        **values,
        style=Markup(_asset("report.css")),
        script=Markup(script),
        # Only this very script may run, and nothing may be fetched, whatever a prompt holds.
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        written=now()[:16].replace("T", " "),
        version=__version__,
    )  # fmt: skip
    write_text(file, html)
    return file


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("coeffdream.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["fields"] = vars
    environment.filters["prompt"] = _marked_prompt
    environment.filters["command"] = _unbroken_options
    return environment


def _asset(name: str) -> str:
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")


def _marked_prompt(prompt: str) -> Markup:
    """The prompt with its placeholder set off from the words."""
    return Markup('<span class="v">&lt;V&gt;</span>').join(escape(part) for part in prompt.split("<V>"))


def _unbroken_options(lines: str) -> Markup:
    """A command in which no line ends inside `--option value`."""
    return Markup("\n").join(
        Markup(" ").join(Markup("<span>{}</span>").format(part) for part in re.split(r" (?=--)", line))
        for line in lines.split("\n")
    )
