"""The page of a run in training: what stands on it, how often it is written, and how a run that stopped is told."""

from __future__ import annotations

import re

import pytest

from coeffdream.errors import CoeffdreamError
from coeffdream.records.claim import claimed
from coeffdream.report import live
from coeffdream.report.live import EVERY, SHARE, LivePage
from coeffdream.report.log import seconds_a_step, spoken
from coeffdream.report.page import write_report


class Clock:
    """Goes only when it is told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watched(clock):
    """A live page, and the paths that were said."""
    said: list = []
    return LivePage(lambda: "1.5 GB of memory", said.append, clock), said


@pytest.fixture
def training(builder):
    """A run in training after 20 of 60 steps, with two sample pictures."""
    builder.trained(status="training", steps_done=0).logged(20, seconds=0.5).sampled(0, 15)
    return builder


def test_what_stands_on_it(watched, training, reading):
    """Photos, the newest samples, the loss, step, time left and memory; it refreshes itself; its path is said once."""
    page, said = watched
    page(training.folder.path, False)
    seen = reading((training.folder.path / "report.html").read_text(encoding="utf-8"))
    assert said == [training.folder.path / "report.html"]
    assert seen.sections == {"glance", "training", "settings", "again"}
    assert "20 of 60 steps · about 20 s left" in seen.text
    assert "0.5 s a step" in seen.text or "2.0 steps a second" in seen.text
    assert "1.5 GB of memory" in seen.text
    assert re.search(r"loss 0\.\d{4}", seen.text)
    assert [each["alt"] for each in seen.all("img")][:4] == [
        *(f"photo 0{index}.png of the cat to learn" for index in range(3)),
        "sample pictures at step 15",
    ]
    [marked] = [each for each in seen.all("div") if "data-refresh" in each]
    assert 1 <= int(marked["data-refresh"]) <= 10
    assert seen.all("meta")[-1].get("http-equiv") == "refresh"  # where no script may run


def test_time_left_is_that_of_the_clock(watched, training, clock, reading):
    """Pictures and checkpoints take time too, which the log does not know of."""
    page, _ = watched
    training.logged(20, seconds=0.001)
    page(training.folder.path, False)
    for step, later in ((21, EVERY), (31, 20.0)):
        training.logged(step, seconds=0.001)
        clock.now += later
        page(training.folder.path, False)
    seen = reading((training.folder.path / "report.html").read_text(encoding="utf-8"))
    assert "31 of 60 steps · about 58 s left" in seen.text  # 10 steps took 20 s, 29 are left


def test_it_is_written_seldom(watched, training, clock):
    """Steps may be quick: between two pages lie some seconds."""
    page, _ = watched
    page(training.folder.path, False)
    file = training.folder.path / "report.html"
    first = file.stat().st_ino
    clock.now += EVERY - 0.01
    page(training.folder.path, False)
    assert file.stat().st_ino == first
    clock.now += 0.02
    page(training.folder.path, False)
    assert file.stat().st_ino != first


@pytest.mark.parametrize("cost", [0.01, 0.5, 20.0])
def test_it_takes_a_hundredth_of_the_time_at_most(cost, clock, training, monkeypatch):
    """However slow the disk: an hour of steps, of which pages take 1 % and the last one written."""
    page = LivePage(lambda: "", lambda file: None, clock)
    spent = []

    def slow(run, now):
        clock.now += cost
        spent.append(cost)

    monkeypatch.setattr(page, "_write", slow)
    began = clock.now
    while clock.now < began + 3600:
        page(training.folder.path, False)
        clock.now += 0.1
    after_the_first = sum(spent[1:])
    assert after_the_first <= SHARE * 3600 + cost
    assert after_the_first >= min(SHARE * 3600, cost * 3600 / EVERY) - cost - 3  # and it is kept up to date


def test_a_page_that_cannot_be_written_is_not_tried_at_every_step(watched, training, clock, monkeypatch):
    """A full disk costs an attempt now and then, not one a step."""
    page, _ = watched
    page(training.folder.path, False)
    tried = []

    def full(*_, **__):
        tried.append(clock.now)
        raise OSError("no space")

    monkeypatch.setattr(live, "render", full)
    for _ in range(100):
        clock.now += 0.1
        try:
            page(training.folder.path, False)
        except OSError:
            continue
    assert len(tried) == 3


def test_it_ends_as_the_finished_page(watched, training, reading):
    """Nothing refreshes itself any more, and the next command is named."""
    page, _ = watched
    page(training.folder.path, False)
    training.trained().logged(60)
    page(training.folder.path, True)
    html = (training.folder.path / "report.html").read_text(encoding="utf-8")
    assert "data-refresh=" not in html
    assert "There are no pictures yet" in reading(html).text


STATES = {
    "training": "training, 20 of 60 steps",
    "killed": "killed after 20 of 60 steps; 15 steps are kept",
    "interrupted": "interrupted after 15 of 60 steps",
    "diverged": "diverged after 20 of 60 steps; 15 steps are kept",
    "failed": "failed after 20 of 60 steps; 15 steps are kept",
}


@pytest.mark.parametrize("state", STATES)
def test_states_are_told_apart(state, training, reading):
    """Each in its own words; only a training that a process is at refreshes itself; the way on is named."""
    status = "training" if state == "killed" else state
    training.trained(status=status, steps_done=15).logged(20, seconds=0.5)
    if state == "training":
        with claimed(training.folder.path, "train", "", ""):
            file, page = write_report(training.folder)
    else:
        file, page = write_report(training.folder)
    html = file.read_text(encoding="utf-8")
    seen = reading(html)
    assert page.state == state
    assert STATES[state] in seen.text
    assert not [words for other, words in STATES.items() if other != state and words in seen.text]
    assert ("data-refresh=" in html) == (state == "training")
    assert ("train --resume" in seen.text) == (state in ("killed", "interrupted", "failed"))


def test_half_a_line_is_no_damage_in_training(training):
    """A step that is being written, or that a kill cut; of a run that ended, it is."""
    log = training.folder.log
    log.write_text(log.read_text() + '{"step": 21, "lo')
    assert write_report(training.folder)[1].loss.steps == 20
    training.trained()
    with pytest.raises(CoeffdreamError, match="is damaged"):
        write_report(training.folder)


def test_spoken_times():
    """As a person would say them."""
    assert [spoken(each) for each in (0.4, 89, 90, 3600, 12_000)] == [
        "0 s",
        "89 s",
        "2 min",
        "60 min",
        "3 h 20 min",
    ]
    assert seconds_a_step([]) is None
    assert seconds_a_step([{"seconds": 9.0}, *({"seconds": 2.0} for _ in range(50))]) == 2.0
