"""sweep.json: what a run's checkpoints scored, at which strengths, and which of them to keep."""

from __future__ import annotations

from dataclasses import dataclass, field

from coeffdream.records.encoders import EncoderRecords
from coeffdream.records.fields import Count, Positive, Text, record_from_json, record_to_json
from coeffdream.records.files import read_json, write_json
from coeffdream.records.run import RunFolder
from coeffdream.records.scores import EMBEDDED_LABEL, PhotoHash

FORMAT = 1


@dataclass(frozen=True)
class Point:
    """A checkpoint at one strength, as the rule that keeps one sees it: all three by CLIP.

    likeness: concept alignment. drift: 1 - cosine of unrelated pictures with the untouched base's.
    """

    step: Positive
    lora_scale: float
    alpha_scale: float
    likeness: float
    text_alignment: float
    drift: float


@dataclass(frozen=True)
class Measured(Point):
    """A point with all else that was measured of it. `set` and `unrelated_set` lie in the run's sweep/.

    dino_alignment, drift_dino: likeness and drift once more, by DINOv2. The losses are those of train.jsonl.
    """

    set: Text
    unrelated_set: Text
    dino_alignment: float
    drift_dino: float
    validation_loss: float | None = None
    class_loss: float | None = None


@dataclass(frozen=True)
class Levels:
    """What the untouched base scores, what the photos do among themselves, and what comes about by chance.

    ceiling: None for a single photo. text_chance: of the base's pictures with the prompts of others; drift_chance: of
    its pictures with others of its own.
    """

    likeness: float
    ceiling: float | None
    text_alignment: float
    text_chance: float
    drift_chance: float


@dataclass(frozen=True)
class Shares:
    """What a point is worth: three shares from 0 to 1, and their product.

    gained: likeness, from the untouched base's to the photos' own. followed: text alignment, from chance to the
    untouched base's. unchanged: unrelated pictures, from those of other prompts to the untouched base's own.
    """

    gained: float
    followed: float
    unchanged: float

    @property
    def worth(self) -> float:
        return self.gained * self.followed * self.unchanged


@dataclass(frozen=True)
class SweptPoint:
    """A point, what it is worth, and whether no other one beats it in all three."""

    measured: Measured
    shares: Shares
    on_front: bool


@dataclass(frozen=True)
class SweepRecord:
    """sweep.json. `kept`: which of the points to keep, by its place in `points`; None when none is worth keeping.

    held_out: whether likeness was measured against photos that were kept out of training.
    """

    created: str
    run: Text
    class_noun: Text
    prompts: list[str]
    unrelated_prompts: list[str]
    images_per_prompt: Positive
    seed: Count
    sampling_steps: Positive
    guidance_scale: float
    size: Positive
    embedded: bool
    encoders: EncoderRecords
    references: list[PhotoHash]
    held_out: bool
    levels: Levels
    points: list[SweptPoint]
    kept: Count | None
    why: str
    warnings: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def label(self) -> str | None:
        return EMBEDDED_LABEL if self.embedded else None

    @property
    def scales(self) -> list[tuple[float, float]]:
        """The strengths that were swept, of the low-rank part and of alpha."""
        measured = [each.measured for each in self.points]
        return list(dict.fromkeys((each.lora_scale, each.alpha_scale) for each in measured))


def read_sweep(run: RunFolder) -> SweepRecord | None:
    """None for a run that was not swept. Raises RunError for a damaged record."""
    if not run.sweep.is_file():
        return None
    return record_from_json(SweepRecord, read_json(run.sweep), run.sweep)


def write_sweep(run: RunFolder, record: SweepRecord) -> None:
    write_json(run.sweep, record_to_json(record))
