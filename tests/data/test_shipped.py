"""Shipped files are found in a checkout and in an installed wheel."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

import coeffdream.data.shipped as module
from coeffdream.data.shipped import concept_folder, shipped
from coeffdream.errors import ConfigError


def test_checkout() -> None:
    """In a checkout (or an editable install) the lists beside the package are found."""
    assert shipped("prompts/live.txt").is_file()
    assert shipped("prompts").is_dir()


def test_wheel_layout(tmp_path: Path) -> None:
    """Installed, the package's own copy is taken and not a stranger's folder in site-packages."""
    installed = tmp_path / "site-packages/coeffdream/data/shipped.py"
    inside = tmp_path / "site-packages/coeffdream/shipped/prompts/live.txt"
    stranger = tmp_path / "site-packages/prompts/live.txt"
    for path, text in (
        (installed, Path(module.__file__).read_text(encoding="utf-8")),
        (inside, "ours"),
        (stranger, "theirs"),
    ):
        path.parent.mkdir(parents=True)
        path.write_text(text)
    spec = importlib.util.spec_from_file_location("shipped_of_a_wheel", installed)
    assert spec is not None
    assert spec.loader is not None
    copy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copy)
    assert copy.shipped("prompts/live.txt").read_text() == "ours"


def test_absent() -> None:
    """A name that was not shipped is an error that says where it looked."""
    with pytest.raises(ConfigError, match=r"prompts/none\.txt does not come with this coeffdream"):
        shipped("prompts/none.txt")


def test_a_shipped_concept_by_name(tmp_path, monkeypatch) -> None:
    """`--concept cat` works in any folder; a folder of that name there comes first."""
    monkeypatch.chdir(tmp_path)
    assert concept_folder("cat") == shipped("concepts/cat")
    assert concept_folder("nothing-of-ours") == Path("nothing-of-ours")
    (tmp_path / "cat").mkdir()
    assert concept_folder("cat") == Path("cat")
