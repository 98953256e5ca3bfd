"""The page of a run while it trains: written again and again, and at the end the finished one."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from coeffdream.records.run import RunFolder, RunRecord
from coeffdream.report import provenance
from coeffdream.report.gather import moment
from coeffdream.report.log import last_step, progress_of, rates, read_log
from coeffdream.report.photos import photos, sample_files, samples
from coeffdream.report.plots import loss_curve
from coeffdream.report.render import FILE, render
from coeffdream.report.view import Page, Shot

EVERY = 3.0  # seconds between two pages, at least
SHARE = 0.01  # of the training's time, at most; the first page and the finished one are beside it


class LivePage:
    """A `progress.Look` that writes `report.html` whenever it is due. Raises what reading and writing raise."""

    def __init__(
        self,
        memory: Callable[[], str],
        written: Callable[[Path], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """memory: what the training takes, in words. written: hears of the first page. clock: in seconds."""
        self._memory, self._written, self._clock = memory, written, clock
        self._began: float | None = None
        self._last = self._spent = 0.0
        self._start: int | None = None  # the step that training goes on from
        self._first: tuple[float, int] | None = None  # when which step after it was seen
        self._photos: tuple[list[Shot], str] | None = None
        self._samples: tuple[list[Path], list[Shot]] = [], []

    def __call__(self, folder: Path, ended: bool) -> None:
        now, run = self._clock(), RunFolder(folder)
        if ended:
            from coeffdream.report.page import write_report

            write_report(run)
        elif self._began is None:
            self._began = self._last = now
            self._write(run, now)
            self._written(run.path / FILE)
        elif now - self._last >= EVERY and self._spent <= SHARE * (now - self._began):
            self._last = now  # before, so that a page that cannot be written is not tried at every step
            try:
                self._write(run, now)
            finally:
                self._spent += self._clock() - now

    def _write(self, run: RunFolder, now: float) -> None:
        record = run.read()
        log = read_log(run, "training")
        at = last_step(log)
        self._start = at if self._start is None else self._start
        if self._first is None and at > self._start:
            self._first = now, at
        since, before = self._first or (now, at)
        pace = (now - since) / (at - before) if at > before else None
        self._photos = self._photos or photos(record)
        if (files := sample_files(run)) != self._samples[0]:
            self._samples = files, samples(run)
        render("report.html", run.path / FILE, page=self._page(run, record, log, pace), run=record, read=None)

    def _page(self, run: RunFolder, record: RunRecord, log: list, pace: float | None) -> Page:
        changed, defaults = provenance.settings(record)
        shown, note = self._photos or ([], "")
        return Page(
            run=record,
            created=moment(run, record.created),
            state="training",
            status=provenance.status(record, "training", last_step(log)),
            notes=list(record.notes),
            commands=provenance.reproduction(run, record, None, None),
            missing=[],
            photos=shown,
            photos_note=note,
            live=progress_of(record, log, pace=pace, memory=self._memory()),
            samples=self._samples[1],
            loss=loss_curve(log, record.validation),
            rates=rates(log, record),
            changed=changed,
            defaults=defaults,
            hashes=provenance.hashes(record, None, None),
        )
