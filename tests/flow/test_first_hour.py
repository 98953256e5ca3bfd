"""The first hour of a person: a fresh clone, a folder of real photos, the README's commands, then whatever is told next."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from coeffdream.data.shipped import shipped

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def shell(tmp_path):
    """Type a line as a person does, in an empty folder, with a `coeffdream` that is the clone's; what it printed."""
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", "--depth", "1", f"file://{ROOT}", str(clone)], check=True)
    script = tmp_path / "bin" / "coeffdream"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m coeffdream "$@"\n')
    script.chmod(0o755)
    here = tmp_path / "here"
    here.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(clone), "PATH": f"{script.parent}:{os.environ['PATH']}"}

    def type_line(line: str) -> str:
        done = subprocess.run(
            line, shell=True, cwd=here, env=environment, capture_output=True, text=True, timeout=1200
        )
        assert done.returncode == 0, f"$ {line}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    type_line.here = here  # type: ignore[attr-defined]
    return type_line


def told_next(printed: str) -> str | None:
    """The command on the last line, if there is one."""
    found = re.fullmatch(r"next: (.*)", printed.splitlines()[-1])
    return found[1] if found else None


def followed(shell, line: str) -> list[str]:
    """Type a line, and what it tells, and what that tells, to the end; all that was typed."""
    typed = [line]
    while (line := told_next(shell(typed[-1]))) is not None:
        assert line not in typed, f"the chain goes round: {typed}"
        typed.append(line)
    return typed


@pytest.mark.slow
def test_the_readmes_three_commands_with_real_photos(shell, real_photos):
    """As printed, but for the base, whose weights are not downloaded by a test; then as told, down to the report."""
    shutil.copytree(real_photos / "cat", shell.here / "my_cat")
    [block] = [text for text in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) if "pip install ." in text]
    lines = [line.split("  #")[0].strip() for line in block.splitlines() if line.startswith("coeffdream ")]
    assert [line.split()[1] for line in lines] == ["train", "generate", "eval"]
    train, generate, evaluate = lines
    shell(f"{train} --base toybox")
    shell(generate)
    typed = followed(shell, evaluate)
    assert typed[-1] == "coeffdream report"
    page = (shell.here / "runs" / "my_cat-coeff-lora" / "report.html").read_text(encoding="utf-8")
    assert "my_cat" in page


@pytest.mark.slow
@pytest.mark.parametrize("start", ["doctor", "params --base toybox"])
def test_each_next_is_followed_to_the_end(shell, start):
    """From a command that needs nothing, through every command that the one before told, to the page of a run."""
    typed = followed(shell, f"coeffdream {start}")
    commands = [shlex.split(line)[1] for line in typed]
    assert commands[-5:] == ["train", "generate", "generate", "eval", "report"]
    assert (shell.here / "runs" / "latest" / "report.html").is_file()


def test_the_photos_that_the_chain_starts_with_are_there():
    """`--concept cat` is told to people who have no photos at hand."""
    assert any(shipped("concepts/cat").iterdir())
