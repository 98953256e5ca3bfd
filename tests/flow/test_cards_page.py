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
README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
FITS = {
    found[1]: (found[2], found[3])
    for found in re.finditer(r"^\| `(\d+)` \| (.+) \| ([\d.]*) ?\|$", README, re.M)
}
ROWS = [found.groups() for line in PAGE.splitlines() if (found := ROW.fullmatch(line))]


def test_there_are_rows():
    """Or the test below would hold nothing to account."""
    assert len(ROWS) > 10
    assert set(FITS) == {"4", "6", "8"}


@pytest.mark.slow
@pytest.mark.parametrize("gigabytes", sorted(FITS))
def test_a_card_is_answered_as_the_readme_has_it(gigabytes, cat_folder, monkeypatch, capsys):
    """What --fit chooses for SDXL, and how much that is; or the least that it could be."""
    words = [
        "train",
        "--dry-run",
        "--json",
        "--device",
        "cuda",
        "--concept",
        str(cat_folder),
        "--fit",
        gigabytes,
    ]
    monkeypatch.setattr(sys, "argv", ["coeffdream", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    chosen, highest = FITS[gigabytes]
    if highest:
        plan = json.loads(printed.out)
        assert " ".join(plan["fit"]) == chosen.strip("`")
        assert f"{plan['memory_bytes']['total'] / 2**30 + 1:.1f}" == highest
    else:
        assert ended.value.code == 2
        least = re.search(r"takes ([\d.]+) GB at the least", printed.err)[1]
        assert f"{least} at the least" in chosen


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0] or "default")
def test_a_row_is_what_the_dry_run_says(row, cat_folder, monkeypatch, capsys):
    """Nobody chooses a card by a figure that the program does not give."""
    options, *figures = row
    command = ["train", "--dry-run", "--json", "--device", "cuda", "--concept", str(cat_folder)]
    monkeypatch.setattr(sys, "argv", ["coeffdream", *command, *shlex.split(options or "")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    step = json.loads(capsys.readouterr().out)["memory_bytes"]["phases"][-1]
    sizes = [step["held"]["unet"], step["held"]["adapter"], step["activations"], step["total"]]
    assert figures == [f"{size / 2**30:.2f}" for size in sizes]
