"""What the template reads: everything the page shows, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from coeffdream.records.images import SetRecord
from coeffdream.records.run import RunRecord, State
from coeffdream.records.scores import PromptScore, ScoresRecord
from coeffdream.records.sweep import SweepRecord
from coeffdream.report.heatmap import Heatmap
from coeffdream.report.plots import LossCurve
from coeffdream.report.thumbnails import Thumbnail


@dataclass(frozen=True)
class Shot:
    """One picture of the page. `link` and `base` (the untouched base's, same prompt and seed) are relative.

    `name`: who drew it, where several draw the same. `under`: the untouched base's, small.
    """

    thumbnail: Thumbnail | None
    link: str
    alt: str
    caption: str
    note: str = ""
    base: str = ""
    name: str = ""
    under: Thumbnail | None = None


@dataclass(frozen=True)
class PromptRow:
    """The pictures of one prompt."""

    index: int
    prompt: str
    shots: list[Shot]
    score: PromptScore | None


@dataclass(frozen=True)
class Cases:
    """The best and the worst pictures by one metric, each with its value."""

    metric: str
    best: list[tuple[str, Shot]]
    worst: list[tuple[str, Shot]]


@dataclass(frozen=True)
class Live:
    """How far a training is. `left`, `pace` and `memory` in words; `refresh`: seconds until the page looks again."""

    step: int
    steps: int
    left: str
    pace: str
    memory: str
    refresh: int


@dataclass(frozen=True)
class Page:
    """What the template reads. `live` is None unless the run is in training."""

    run: RunRecord
    created: datetime
    state: State
    status: str
    notes: list[str]
    commands: list[tuple[str, str]]
    missing: list[tuple[str, str]]
    photos: list[Shot]
    photos_note: str
    live: Live | None = None
    first: list[Shot] = field(default_factory=list)
    made: SetRecord | None = None
    other_sets: list[tuple[str, int]] = field(default_factory=list)
    rows: list[PromptRow] = field(default_factory=list)
    scores: ScoresRecord | None = None
    cases: list[Cases] = field(default_factory=list)
    samples: list[Shot] = field(default_factory=list)
    loss: LossCurve | None = None
    rates: str = ""
    sweep: SweepRecord | None = None
    sweep_picture: Shot | None = None
    heatmaps: list[Heatmap] = field(default_factory=list)
    heat_limit: float = 0.0
    heat_source: str = ""
    changed: list[tuple[str, str, str]] = field(default_factory=list)
    defaults: list[tuple[str, str]] = field(default_factory=list)
    hashes: list[tuple[str, str]] = field(default_factory=list)
