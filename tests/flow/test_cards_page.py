"""The forecasts of docs/cards.md are what `train --dry-run` says."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from coeffdream.cli.app import main

PAGE = (Path(__file__).parents[2] / "docs" / "cards.md").read_text(encoding="utf-8")
ROW = re.compile(r"\| (?:`(?P<options>[^`]+)`|\(nothing\)) \| (.+) \| (.+) \| (.+) \| \*\*(.+)\*\* \|")
ROWS = [found.groups() for line in PAGE.splitlines() if (found := ROW.fullmatch(line))]


def test_there_are_rows():
    """Or the test below would hold nothing to account."""
    assert len(ROWS) > 10


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0] or "default")
def test_a_row_is_what_the_dry_run_says(row, cat_folder, monkeypatch, capsys):
    """Nobody chooses a card by a figure that the program does not give."""
    options, *figures = row
    command = ["train", "--dry-run", "--json", "--precision", "bf16", "--concept", str(cat_folder)]
    monkeypatch.setattr(sys, "argv", ["coeffdream", *command, *shlex.split(options or "")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    memory = json.loads(capsys.readouterr().out)["memory_bytes"]
    assert figures == [f"{memory[part] / 2**30:.2f}" for part in ("unet", "adapter", "activations", "total")]
