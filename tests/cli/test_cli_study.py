"""`coeffdream study` through the command line."""

from __future__ import annotations

import json


def test_expressiveness(cli, tmp_path):
    """A table for people, numbers for machines, figure and numbers on disk; bad options are refused in one line."""
    given = ("study", "expressiveness", "--seeds", 2, "--steps", 3, "--out", "study")
    shown = cli(*given)
    assert shown.status == 0
    assert "W_q, W_k, alpha" in shown.out
    assert "figure: study/figure.png" in shown.err
    numbers = json.loads(cli(*given, "--json").out)
    assert numbers == json.loads((tmp_path / "study" / "numbers.json").read_text())
    assert numbers["options"] == {"seeds": 2, "heads": 2, "steps": 3, "lr": 0.05}
    assert sorted(path.name for path in (tmp_path / "study").iterdir()) == [
        "figure.png",
        "figure.svg",
        "numbers.json",
    ]
    refused = cli("study", "expressiveness", "--heads", 33)
    assert (refused.status, len(refused.complaint)) == (2, 1)
