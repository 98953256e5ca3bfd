"""`coeffdream bench attention` as a person and as a machine reads it."""

from __future__ import annotations

import json


def test_table_and_json(cli):
    """A line for each contender and pass on standard output; --json is JSON and nothing else."""
    shown = cli("bench", "attention", "--resolution", 32, "--repeats", 1, "--device", "cpu")
    assert shown.status == 0
    assert shown.out.count("forward+backward") == 4 * 4
    assert "x SDPA" in shown.out
    assert "Triton runs on CUDA only" in shown.err
    read = json.loads(
        cli("bench", "attention", "--resolution", 32, "--repeats", 1, "--device", "cpu", "--json").out
    )
    assert {timing["backend"] for case in read["cases"] for timing in case["timings"]} == {
        "sdpa",
        "reference",
        "chunked",
        "flash",
    }


def test_it_fits_a_plain_terminal(cli, monkeypatch):
    """80 columns: nothing is cut off, and a timing stays on its line."""
    monkeypatch.setenv("COLUMNS", "80")
    shown = cli("bench", "attention", "--resolution", 32, "--repeats", 1, "--device", "cpu").out
    assert "…" not in shown
    assert sum("MiB" in line for line in shown.splitlines()) == 4 * 8


def test_a_bad_option_is_one_line(cli):
    """Exit status 2 and the remedy."""
    answer = cli("bench", "attention", "--dtype", "int8")
    assert answer.status == 2
    assert answer.complaint == [
        "error: --dtype 'int8' is not served; choose one of float32, bfloat16, float16"
    ]
