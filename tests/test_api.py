"""The Python API: what it exports, how light it is, and that it does what the command line does."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import coeffdream
from coeffdream.errors import CoeffdreamError, ConfigError, RunError


def test_the_exported_names():
    """They are these; each can be had, has a docstring, and is what `dir` shows."""
    assert set(coeffdream.__all__) == {
        "CoeffdreamError",
        "SubspaceCoefficients",
        "UserError",
        "__version__",
        "add_coefficients",
        "coefficients_of",
        "compare_runs",
        "generate",
        "load",
        "load_coefficients",
        "mixed_attention",
        "remove_coefficients",
        "save_coefficients",
        "score",
        "train",
        "unload",
    }
    assert dir(coeffdream) == sorted(coeffdream.__all__)
    for name in set(coeffdream.__all__) - {"__version__"}:
        assert getattr(coeffdream, name).__doc__, name
    with pytest.raises(AttributeError, match="nonsense"):
        _ = coeffdream.nonsense  # type: ignore[attr-defined]
    assert issubclass(coeffdream.UserError, coeffdream.CoeffdreamError)
    assert coeffdream.CoeffdreamError is CoeffdreamError


def test_importing_it_is_light():
    """No torch until something is asked for."""
    probe = "import sys, coeffdream; print([m for m in ('torch', 'diffusers', 'numpy', 'PIL') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_it_is_typed():
    """py.typed is there, and every function says what it takes and gives."""
    assert (Path(coeffdream.__file__).parent / "py.typed").is_file()
    from coeffdream import api

    for name in ("load", "unload", "train", "generate", "score", "compare_runs"):
        annotations = getattr(api, name).__annotations__
        assert "return" in annotations, name
        assert typing.TYPE_CHECKING is False


def test_no_exported_name_is_a_room():
    """A room that is imported becomes an attribute of the package and would take the function's place."""
    package = Path(coeffdream.__file__).parent
    rooms = {each.stem for each in package.iterdir()}
    assert not rooms & set(coeffdream.__all__)


@pytest.mark.parametrize("name", ["train", "generate", "score"])
def test_a_misspelled_option_is_named(name):
    """Nothing is swallowed by **options."""
    arguments = {"train": ("photos",), "generate": ("cat",), "score": ("cat",)}[name]
    with pytest.raises(ConfigError, match="'setps'"):
        getattr(coeffdream, name)(*arguments, setps=3)


def test_from_photos_to_pictures(tiny_base, cat_folder, tmp_path, monkeypatch):
    """train and generate as a program calls them; a run by name, by folder, or as it was given back."""
    monkeypatch.chdir(tmp_path)
    run = coeffdream.train(
        cat_folder,
        base=str(tiny_base),
        class_noun="cat",
        method="coeff-lora",
        steps=1,
        sample_every=0,
        name="mine",
    )
    assert run.read().status == "complete"
    made = coeffdream.generate("mine", ["<V> cat"], images_per_prompt=1)
    assert made.count == 1
    again = coeffdream.generate(run, ["<V> cat"], images_per_prompt=1)
    assert again.already_there == 1
    with pytest.raises(RunError):
        coeffdream.score("nothing")
    second = run.path.with_name("second")
    shutil.copytree(run.path, second)
    other = coeffdream.generate("second", ["<V> cat"], images_per_prompt=1).folder.path.parents[1]
    record = dataclasses.replace(run.read(), token="zwx")
    type(run)(other).write(record)
    said: list[str] = []
    both = coeffdream.generate(
        {"mine": 1.0, "second": 0.5}, ["<V1> cat beside <V2> cat"], images_per_prompt=1, warn=said.append
    )
    assert both.folder.read_set().settings.weights == {"mine": 1.0, "second": 0.5}
    assert [image.text for image in both.images] == ["sks cat beside zwx cat"]
    assert any("both a cat" in line for line in said)
    with pytest.raises(ConfigError, match="one run with a weight"):
        coeffdream.generate({"mine": 1.0})
