"""Whoever looks on while a run trains sees each step at once, changes nothing, and can break nothing."""

from __future__ import annotations

import errno
import json

import pytest

from coeffdream.progress import silent
from coeffdream.report.live import LivePage
from coeffdream.training import run as training


@pytest.fixture
def seen():
    """What is called at every step, and what it saw: (steps in the log, status, whether it was the last time)."""
    rows: list[tuple[int, str, bool]] = []

    def look(folder, ended):
        log = folder / "train.jsonl"
        lines = log.read_text().splitlines() if log.exists() else []
        rows.append(
            (len([json.loads(line) for line in lines]), training.RunFolder(folder).read().status, ended)
        )

    look.rows = rows
    return look


def test_every_step_is_seen_at_once(seen, options, given):
    """Before the first step, after each with its line in the log, and when the record says how it ended."""
    training.train(*given(options(steps=3)), silent, look=seen)
    assert seen.rows == [
        (0, "training", False),
        *((step, "training", False) for step in (1, 2, 3)),
        (3, "complete", True),
    ]


def test_an_end_by_ctrl_c_is_seen(seen, options, given, interrupt_after):
    """Then a resume from there."""
    run, finished = training.train(*given(options(steps=3)), interrupt_after(2), look=seen)
    assert not finished
    assert seen.rows[-1] == (2, "interrupted", True)
    assert training.resume(run, *given(options(steps=3)), silent, look=seen)
    assert seen.rows[-2:] == [(3, "training", False), (3, "complete", True)]


def test_the_page_changes_nothing_that_is_learned(options, given, outcome):
    """Adapter, Adam's moments and the log are, byte for byte, those of a run that nobody watched."""
    config = options(steps=3, sample_every=2, checkpoint_every=2)
    alone, _ = training.train(*given(config), silent)
    page = LivePage(lambda: "", lambda file: None)
    watched, _ = training.train(*given(config), silent, look=page)
    assert (watched.path / "report.html").is_file()
    assert not (alone.path / "report.html").exists()
    assert outcome(alone) == outcome(watched)


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), ZeroDivisionError("oops")]
)
def test_a_page_that_fails_is_a_note(error, options, given):
    """Whatever is wrong with it is said once and written down, and the training comes to its end."""

    def look(folder, ended):
        raise error

    said: list[str] = []
    run, finished = training.train(*given(options(steps=3)), silent, said.append, look)
    record = run.read()
    assert finished
    assert record.status == "complete"
    assert record.notes == said
    assert len(said) == 1
    assert str(error) in said[0]
