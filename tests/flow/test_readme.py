"""Every coeffdream command that the README shows is run, in its order, on the embedded base, from an empty folder."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from coeffdream.cli.app import main
from coeffdream.data.shipped import shipped

README = Path(__file__).parents[2] / "README.md"

# What makes each command small and offline; the rest of it is as the README has it.
SMALLER = {
    "train": ["--base", "toybox", "--steps", "2", "--sample-every", "0"],
    "generate": ["--steps", "1", "--images-per-prompt", "1"],
}


def commands() -> list[list[str]]:
    """All `coeffdream ...` in code blocks and in code spans, comments dropped."""
    text = README.read_text(encoding="utf-8")
    blocks = [block.replace("\\\n", " ") for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)]
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("coeffdream ")]
    spans = re.findall(r"`(coeffdream [a-z][^`]*)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return [shlex.split(line, comments=True)[1:] for line in [*lines, *spans]]


def test_the_three_commands_are_there():
    """The README shows the three everyday commands, or the test below would run nothing."""
    assert [command[0] for command in commands()[:3]] == ["train", "generate", "eval"]


def test_all_run(tmp_path, monkeypatch, capsys):
    """Whoever types what the README says gets no error."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(shipped("concepts/cat"), tmp_path / "my_cat")
    (tmp_path / "two.txt").write_text("a <V> CLASS in the snow\na <V> CLASS on the beach\n", encoding="utf-8")

    def run(*typed: str) -> None:
        monkeypatch.setattr(sys, "argv", ["coeffdream", *typed])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0, f"coeffdream {shlex.join(typed)}\n{capsys.readouterr().err}"

    for command in commands():
        if command[0] == "demo":  # CI runs it: make demo
            continue
        if command[0] == "eval":  # without a prompt: the benchmark, which it scores
            run("generate", "--prompts", "two.txt", *SMALLER["generate"])
        run(*command, *SMALLER.get(command[0], []))
