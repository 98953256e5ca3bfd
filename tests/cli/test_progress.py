"""What is said while one waits: a rate is of the work that is going on, not of what was done before it."""

from __future__ import annotations

import contextlib
import gc

import pytest

from coeffdream.cli import terminal
from coeffdream.cli.terminal import ProgressDisplay, loading


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


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_is_collected_while_libraries_are_loaded(fails, capsys):
    """And everything again afterwards, whether they could be loaded or not: a step's garbage may hold a card's memory."""
    assert gc.isenabled()
    with contextlib.suppress(ImportError), loading("a_library_that_is_not_here"):
        assert not gc.isenabled()
        if fails:
            raise ImportError
    assert gc.isenabled()
    assert "loading a_library_that_is_not_here ..." in capsys.readouterr().err
    with loading("gc"):
        assert gc.isenabled()
    assert capsys.readouterr().err == ""
