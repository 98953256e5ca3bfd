"""A real training of the embedded base, watched in a real Chromium that nobody touches."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

STEPS = 24


@pytest.fixture
def training(tmp_path):
    """`coeffdream train` on one of the shipped concepts, begun; killed when the test is over."""
    command = [sys.executable, "-m", "coeffdream", "train", "--concept", "cat", "--base", "toybox"]
    command += ["--name", "watched", "--steps", str(STEPS), "--sample-every", str(STEPS // 2)]
    printed = tmp_path / "printed.txt"
    with printed.open("wb") as stream:
        begun = subprocess.Popen(command, cwd=tmp_path, stdout=stream, stderr=stream, env=dict(os.environ))
    yield begun, printed
    begun.kill()
    begun.wait()


def test_the_page_follows_a_training_to_its_end(browser, training, tmp_path):
    """It is opened once: step and samples come by themselves, the place one reads at stays, and it ends finished."""
    begun, printed = training
    file = tmp_path / "runs" / "watched" / "report.html"
    until = time.monotonic() + 300
    while not file.exists():
        assert begun.poll() is None, printed.read_text()
        assert time.monotonic() < until
        time.sleep(0.05)
    browser.open(file, width=1024, height=500)
    browser.value("document.documentElement.style.scrollBehavior = 'auto'; scrollTo(0, 200)")
    steps, places, finished = set(), set(), False
    while not finished:
        assert time.monotonic() < until, printed.read_text()
        try:
            at, where, reloaded = browser.value(
                "[document.querySelector('.live .step b')?.textContent ?? null, Math.round(scrollY), "
                "document.readyState === 'complete' && performance.getEntriesByType('navigation')[0].type === 'reload']"
            )
        except AssertionError:  # between two pages there is nobody to answer
            continue
        if reloaded:
            finished = at is None
            places.add(where)
            if at is not None:
                steps.add(int(at))
        if len(steps) < 2:  # however fast it trains: it must not end before the page was there twice
            begun.send_signal(signal.SIGSTOP)
            time.sleep(0.5)
            begun.send_signal(signal.SIGCONT)
        time.sleep(0.1)
    assert begun.wait(60) == 0, printed.read_text()
    assert "watch it: runs/watched/report.html" in printed.read_text()
    assert len(steps) >= 2, steps
    assert places == {200}
    assert f"complete, {STEPS} steps" in browser.value("document.body.textContent")
    assert (
        browser.value("document.querySelectorAll('.samples figure').length") == 3
    )  # at the beginning, in the middle and at the end
    assert browser.complaints() == []
    assert browser.requests() <= {"file", "data"}
