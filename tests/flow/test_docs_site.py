"""The documentation builds without a warning, and what is built asks no other host for anything."""

from __future__ import annotations

import html.parser
import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("zensical") is None, reason="zensical is not installed; it needs Python 3.11"
)


def build(folder: Path, more: str = "") -> subprocess.CompletedProcess[str]:
    """`make docs`' build, of a copy in `folder` whose first page has `more` at its end."""
    shutil.copytree(ROOT / "docs", folder / "docs")
    shutil.copy(ROOT / "zensical.toml", folder)
    with (folder / "docs" / "index.md").open("a", encoding="utf-8") as page:
        page.write(more)
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


class References(html.parser.HTMLParser):
    """What a browser fetches by itself when it opens a page."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag != "a":
            self.fetched += [
                value for name in ("src", "href", "srcset", "poster") if (value := values.get(name))
            ]


def test_the_site(tmp_path):
    """Strict: a dead link is an error. Every page is in the navigation, and opens from a disk without a network."""
    done = build(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    site = tmp_path / "site"
    written = sorted(page.stem for page in (ROOT / "docs").glob("*.md"))
    assert sorted(page.stem for page in site.glob("*.html") if page.name != "404.html") == written
    navigation = (site / "index.html").read_text(encoding="utf-8")
    assert not [page for page in written if f"{page}.html" not in navigation]
    for page in site.glob("*.html"):
        references = References()
        references.feed(page.read_text(encoding="utf-8"))
        assert references.fetched
        outside = [each for each in references.fetched if re.match(r"(\w+:)?//", each)]
        assert not outside
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", sheet.read_text(encoding="utf-8"))


@pytest.mark.parametrize("link", ["nowhere.md", "scale.md#nowhere"])
def test_a_dead_link_is_found(tmp_path, link):
    """Or strict would mean nothing."""
    assert build(tmp_path, f"\n[gone]({link})\n").returncode != 0
