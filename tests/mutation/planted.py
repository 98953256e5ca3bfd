"""Errors made by hand, each planted in turn: does the test that was written against it fail?"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from child import run_tests

SECONDS = 300.0  # of processor time for a test, which may be that much slower when it is wrong


@dataclass(frozen=True)
class Planted:
    """One error: what stands once in a file, what takes its place, and the test that must fail then."""

    name: str
    file: str
    text: str
    becomes: str
    test: str


def planted_in(file: Path) -> list[Planted]:
    """The errors that a TOML file lists."""
    return [Planted(**row) for row in tomllib.loads(file.read_text(encoding="utf-8"))["planted"]]


def verdict_on(error: Planted, root: Path, folder: Path) -> str:
    """ "killed", "SURVIVED", or why the test says nothing of this error. The file on disk stays as it is."""
    path = root / error.file
    source = path.read_text(encoding="utf-8")
    if (found := source.count(error.text)) != 1:
        return f"NOT PLANTED: {error.file} holds its text {found} times"
    right, wrong = (
        compile(code, str(path), "exec", dont_inherit=True)
        for code in (source, source.replace(error.text, error.becomes))
    )
    if run_tests([error.test], right, path, folder, SECONDS) != "survived":
        return "NOT PLANTED: its test fails without it"
    ended = run_tests([error.test], wrong, path, folder, SECONDS)
    if ended.startswith(f"killed by {error.test}"):
        return "killed"
    return "SURVIVED" if ended == "survived" else f"NO VERDICT: {ended}"


def plant(errors: list[Planted], root: Path, folder: Path) -> bool:
    """A line for each error as it is tested. True when all were killed."""
    killed = 0
    for error in errors:
        verdict = verdict_on(error, root, folder)
        killed += verdict == "killed"
        print(f"{verdict}: {error.name}\n    {error.test}", flush=True)
    print(f"{killed} of {len(errors)} planted errors killed")
    return killed == len(errors)
