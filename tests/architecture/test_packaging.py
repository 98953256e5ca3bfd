"""What a package index and a citation show agrees with the rest."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from coeffdream import __version__

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project() -> dict:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_readme_of_an_index_needs_no_file_beside_it(project):
    """Relative pictures and links lead nowhere there: the substitutions leave none, and keep what they named."""
    hook = project["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    text = original = (ROOT / "README.md").read_text(encoding="utf-8")
    for each in hook["substitutions"]:
        text = re.sub(each["pattern"], each["replacement"], text)
    targets = re.findall(r"\]\(([^)]+)\)", original)
    assert set(re.findall(r"\]\(([^)]+)\)", text)) == {
        target for target in targets if target.startswith("https://")
    }
    assert "![" not in text
    assert all(f"`{target}`" in text for target in targets if not target.startswith("https://"))


def test_the_citation_is_of_this_version():
    """And of the paper."""
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {__version__}\n" in citation
    assert "arXiv:2503.18337" in citation


def test_what_an_sdist_holds_is_there(project):
    """A file that was renamed would be missing from it without a word."""
    included = project["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert [name for name in included if not (ROOT / name).exists()] == []
    assert {path.name for path in ROOT.glob("*.md")} <= set(included)
