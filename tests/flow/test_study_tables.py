"""The numbers of the README's study are those of its records, and nobody typed them."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def made():
    return runpy.run_path(str(ROOT / "docs" / "study_tables.py"))


@pytest.mark.parametrize(("page", "metrics"), [("README.md", "SHORT"), ("docs/findings.md", "WHOLE")])
def test_the_pages_have_the_studys_tables(page, metrics, made):
    """`python docs/study_tables.py` prints both anew."""
    text, found = (ROOT / page).read_text(encoding="utf-8"), made["published"]()
    for table in (made["scores"], made["differences"]):
        assert table(found, made[metrics]) in text


def test_the_numbers_follow_from_the_records(made):
    """Who doubts them unpacks docs/study.tar.xz and compares for themselves."""
    assert json.loads(json.dumps(made["recomputed"]())) == made["published"]()


def test_the_script_says_so_too(made, monkeypatch, capsys):
    """--check ends with 1 where they do not."""
    monkeypatch.setattr(sys, "argv", ["study_tables.py", "--check"])
    monkeypatch.setitem(made["main"].__globals__, "recomputed", dict)
    with pytest.raises(SystemExit) as ended:
        made["main"]()
    assert ended.value.code
    assert "does NOT follow" in capsys.readouterr().out
