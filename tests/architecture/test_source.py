"""What may not be in the package's source: long files, and ways for a data file to run code."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "coeffdream"
FILES = sorted(PACKAGE.rglob("*.py"))
MOST_LINES = 300

# Calls that run, or can run, what a file holds.
CODE_RUNNERS = {"eval", "exec", "compile", "__import__"}
UNPICKLERS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
LOADERS = {("torch", "load"), ("torch", "save"), ("np", "load"), ("numpy", "load"), ("yaml", "load")}


def ids(file: Path) -> str:
    return str(file.relative_to(PACKAGE))


@pytest.mark.parametrize("file", FILES, ids=ids)
def test_one_idea_one_short_file(file):
    """Past about 300 lines there is a second idea in it."""
    assert len(file.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


@pytest.mark.parametrize("file", FILES, ids=ids)
def test_data_files_cannot_run_code(file):
    """Adapters, checkpoints and configs come from strangers: safetensors, JSON and TOML only."""
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names]
            roots = [node.module or ""] if isinstance(node, ast.ImportFrom) else names
            found += [name for name in roots if name.partition(".")[0] in UNPICKLERS]
        if isinstance(node, ast.Call):
            called = node.func
            if isinstance(called, ast.Name) and called.id in CODE_RUNNERS:
                found.append(called.id)
            if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
                pair = (called.value.id, called.attr)
                found += [".".join(pair)] if pair in LOADERS else []
    assert not found


@pytest.mark.parametrize("file", FILES, ids=ids)
def test_annotations_are_not_evaluated(file):
    """Python 3.10 reads `X | None` in them only so."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    code = [node for node in tree.body if not isinstance(node, ast.Expr)]
    if code and file.name not in ("__init__.py", "__main__.py"):
        assert ast.unparse(code[0]) == "from __future__ import annotations"


def test_every_module_says_what_it_is_for():
    """The first thing a reader needs."""
    silent = [
        ids(file)
        for file in FILES
        if file.read_text(encoding="utf-8").strip()
        and not ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    ]
    assert not silent
