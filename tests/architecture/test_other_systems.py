"""Windows and macOS, as far as a Linux machine can tell: what the source may not use, and what runs without it."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest

from coeffdream.records import environment

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    file for folder in ("coeffdream", "docs", "integrations") for file in (ROOT / folder).rglob("*.py")
)


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_text_has_an_encoding(file):
    """Windows would read and write it in that of its locale. Ruff's PLW1514 finds only paths whose type it can tell."""
    calls = [
        node for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)
    ]
    silent = [
        node.lineno
        for node in calls
        if isinstance(node.func, ast.Attribute)
        and node.func.attr in ("read_text", "write_text")
        and "encoding" not in {word.arg for word in node.keywords}
        # files.write_text(path, text) is our own, and UTF-8
        and not (isinstance(node.func.value, ast.Name) and node.func.value.id == "files")
    ]
    assert not silent


def test_a_cache_without_a_home(monkeypatch, tmp_path):
    """Windows has no user numbers; its temporary files are each user's own."""
    monkeypatch.delenv("COEFFDREAM_CACHE", raising=False)
    monkeypatch.setattr(environment.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(Path, "home", classmethod(lambda cls: (_ for _ in ()).throw(RuntimeError("no home"))))
    monkeypatch.delattr(os, "getuid")
    assert environment.cache_folder() == tmp_path / "coeffdream"
    assert (tmp_path / "coeffdream").is_dir()
