"""A page from its template: what the pages about a run, a training and a study share."""

from __future__ import annotations

import base64
import hashlib
import re
import time
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from coeffdream import __version__
from coeffdream.errors import counted
from coeffdream.records.environment import now
from coeffdream.records.files import write_text

FILE = "report.html"
SCRIPTS = ("filter.js", "zoom.js", "reading.js", "live.js")
STYLES = ("style.css", "glance.css", "study.css", "print.css")


def render(template: str, file: Path, **values: Any) -> Path:
    """Fill a template with these values and the style and script that all pages share; write it to `file`."""
    script = _assets(SCRIPTS)
    html = _environment().get_template(template).render(
        **values,
        style=Markup(_assets(STYLES)),
        script=Markup(script),
        # Only this very script may run, and nothing may be fetched, whatever a prompt holds.
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        written=now()[:16].replace("T", " "),
        written_at=round(time.time()),
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
    environment.filters["counted"] = counted
    environment.filters["fields"] = vars
    environment.filters["prompt"] = _marked_prompt
    environment.filters["command"] = _unbroken_options
    return environment


@cache
def _assets(names: tuple[str, ...]) -> str:
    folder = Path(__file__).parent / "templates"
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in names)


def _marked_prompt(prompt: str) -> Markup:
    """The prompt with its placeholder set off from the words."""
    return Markup('<span class="v">&lt;V&gt;</span>').join(escape(part) for part in prompt.split("<V>"))


def _unbroken_options(lines: str) -> Markup:
    """A command in which no line ends inside `--option value`."""
    return Markup("\n").join(
        Markup(" ").join(Markup("<span>{}</span>").format(part) for part in re.split(r" (?=--)", line))
        for line in lines.split("\n")
    )
