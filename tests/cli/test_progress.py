"""The progress lines of a log: a rate is of the work that is going on, not of what was done before it."""

from __future__ import annotations

import pytest

from coeffdream.cli import terminal
from coeffdream.cli.terminal import ProgressDisplay


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when the test says so."""
    now = [1000.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize("second", [100, 50])
def test_a_second_set_has_a_rate_of_its_own(second, clock, capsys):
    """Of as many pictures or of fewer, drawn after another that was twice as fast, with a minute between them."""
    display = ProgressDisplay()
    for done in range(0, 101, 50):
        display("drawing", done, 100)
        clock[0] += 10 * (done < 100)
    assert "drawing 100/100 (5.00/s)" in capsys.readouterr().err
    clock[0] += 60
    for done in range(0, second + 1, 25):
        display("drawing", done, second)
        clock[0] += 10 * (done < second)
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == f"drawing {second}/{second} (2.50/s)"


def test_what_took_no_time_has_no_rate(clock, capsys):
    """Prompts that were encoded for the set before are not encoded at 714,838 a second."""
    display = ProgressDisplay()
    display("encoding prompts", 0, 25)
    clock[0] += 0.0001
    display("encoding prompts", 25, 25)
    assert capsys.readouterr().err.splitlines()[-1] == "encoding prompts 25/25"
