"""The command line called as a person calls it, in this process, from an empty folder of its own."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from coeffdream.backbones.base import find_base
from coeffdream.cli.app import main
from coeffdream.config import TrainConfig
from coeffdream.data.concept import load_concept
from coeffdream.progress import silent
from coeffdream.records.latest import point_latest_at
from coeffdream.records.run import RunFolder


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a call printed and how it ended."""

    status: int
    out: str
    err: str

    @property
    def complaint(self) -> list[str]:
        """The lines of standard error from the error on."""
        lines = self.err.splitlines()
        starts = [index for index, line in enumerate(lines) if line.startswith("error: ")]
        assert len(starts) == 1, self.err
        return lines[starts[0] :]


@pytest.fixture(autouse=True)
def quick(few_validation_draws, loaded_once) -> None:
    """Nothing here looks at the validation."""


@pytest.fixture
def cli(tmp_path, monkeypatch, capsys) -> Callable[..., Answer]:
    """`coeffdream ARGUMENTS`, run in tmp_path, so that runs/ is tmp_path/runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: Any) -> Answer:
        monkeypatch.setattr(sys, "argv", ["coeffdream", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return Answer(ended.value.code, printed.out, printed.err)

    return call


@pytest.fixture
def teach(cli, tiny_base, cat_folder):
    """A short `coeffdream train` on the miniature; options may be added."""

    def call(*arguments: Any) -> Answer:
        quick = ("--concept", cat_folder, "--base", tiny_base, "--steps", 2, "--sample-every", 0)
        return cli("train", *quick, *arguments)

    return call


@pytest.fixture
def contents() -> Callable[[Path], dict[str, bytes]]:
    """Every file under a folder with its bytes: what must not change."""

    def read(folder: Path) -> dict[str, bytes]:
        files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
        return {str(path.relative_to(folder)): path.read_bytes() for path in files}

    return read


@pytest.fixture(scope="session")
def learned(tiny_base, tmp_path_factory):
    """A run of a given method, trained once a session."""
    made: dict[str, Path] = {}

    def trained(method: str) -> Path:
        from coeffdream.training.run import train

        if method not in made:
            photos = tmp_path_factory.mktemp("photos") / "cat"
            photos.mkdir()
            rng = np.random.default_rng(0)
            Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(photos / "0.png")
            config = TrainConfig(
                concept=str(photos),
                base=str(tiny_base),
                method=method,
                resolution=32,
                steps=1,
                sample_every=0,
                device="cpu",
                runs=str(tmp_path_factory.mktemp("learned")),
            )
            run, _ = train(config, load_concept(photos), find_base(str(tiny_base)), silent)
            made[method] = run.path
        return made[method]

    return trained


@pytest.fixture
def run_of(learned, tmp_path):
    """A trained run in tmp_path/runs, the latest one there."""

    def copied(method: str = "coeff-lora") -> RunFolder:
        run = RunFolder(tmp_path / "runs" / f"cat-{method}")
        shutil.copytree(learned(method), run.path)
        point_latest_at(run.path)
        return run

    return copied
