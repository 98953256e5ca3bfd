"""What personalisation achieved: is it this individual, and is it still where the prompt puts it?

Judged on the runs of concepts/ that have been drawn and scored, each against the untouched base's pictures of
the same prompts and seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from coeffdream.compare.statistics import interval_inside_concept
from coeffdream.data.images import load_image
from coeffdream.errors import PromptError, RunError
from coeffdream.metrics.encoder_choice import TOYBOX, encoders_for
from coeffdream.metrics.feature_cache import FeatureCache
from coeffdream.metrics.inputs import Picture, pictures_of_set, references_of_run
from coeffdream.metrics.measure import Scorer
from coeffdream.metrics.options import ScoringOptions
from coeffdream.records.images import SetFolder, find_set
from coeffdream.records.run import RunFolder, RunRecord
from coeffdream.records.scores import read_scores
from coeffdream.records.study import StudyFolder
from coeffdream.toybox.world.concepts import CONCEPTS
from coeffdream.toybox.world.grammar import read_caption
from coeffdream.toybox.world.individual import Individual
from coeffdream.toybox.world.names import BACKGROUNDS, COLOURS, PATTERNS, SUBJECTS
from coeffdream.toybox.world.wish import Wish
from coeffdream.workshop.build.shards import normalised
from coeffdream.workshop.judge.classifier import Judge, readings

RESAMPLES = 2000
FOLLOWED = 0.9  # of the places asked for

Table = NDArray[np.float64]  # [prompts, images]; NaN where a prompt asks for nothing of the kind


@dataclass(frozen=True)
class Measured:
    """A mean over one concept's pictures, with its 95 % interval (prompt -> image)."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.2f} [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True)
class Verdict:
    """One concept learned by one arm of a study, or one method, means over its training seeds.

    `match` is the share of {body colour, second colour, pattern} that the judge reads as the
    individual's own, where the prompt leaves it open; `alignment` is CLIP concept alignment by the
    embedded scorer; `place` the share of asked backgrounds that the judge sees.
    """

    concept: str
    arm: str
    seeds: int
    match: Measured
    base_match: Measured
    alignment: Measured
    base_alignment: Measured
    place: float
    base_place: float

    @property
    def learned(self) -> bool:
        """Both intervals apart from the base's, and the places still followed."""
        return (
            self.match.low > self.base_match.high
            and self.alignment.low > self.base_alignment.high
            and self.place >= FOLLOWED
        )


def own_match(read: dict[str, list[int]], wishes: Sequence[Wish], individual: Individual) -> list[float]:
    """Per picture, the share of what the prompt left open that is the individual's own; NaN where nothing was."""
    shares = []
    for index, wish in enumerate(wishes):
        seen = []
        if wish.colour is None:
            seen += [read["colour"][index] == COLOURS.index(individual.body_name)]
            seen += [read["second"][index] == COLOURS.index(individual.second_name)]
        if wish.pattern is None:
            seen += [read["pattern"][index] == PATTERNS.index(individual.pattern)]
        shares.append(float(np.mean(seen)) if seen else float("nan"))
    return shares


def place_kept(read: dict[str, list[int]], wishes: Sequence[Wish]) -> list[float]:
    """Per picture, whether the background is the one asked for; NaN where none was."""
    return [
        float("nan") if wish.background is None else float(BACKGROUNDS[seen] == wish.background)
        for seen, wish in zip(read["background"], wishes, strict=True)
    ]


def things_kept(read: dict[str, list[int]], wishes: Sequence[Wish]) -> list[float]:
    """Per picture, the share of {kind of thing, color} that is what was asked for, of those that were; NaN for neither."""
    shares = []
    for index, wish in enumerate(wishes):
        seen = [] if wish.subject is None else [SUBJECTS[read["subject"][index]] == wish.subject]
        seen += [] if wish.colour is None else [COLOURS[read["colour"][index]] == wish.colour]
        shares.append(float(np.mean(seen)) if seen else float("nan"))
    return shares


@dataclass(frozen=True)
class Judged:
    """A run to be judged: its own pictures, those of the untouched base, and the individual it learned.

    arm: of the study that it is a cell of, else its method.
    """

    arm: str
    record: RunRecord
    own: SetFolder
    floor: SetFolder
    concept: str
    individual: Individual


def find_runs(runs: Path) -> list[Judged]:
    """The scored toybox runs of shipped concepts in `runs`.

    Raises RunError when there is none, or when a run lacks its scores or the untouched base's pictures.
    """
    individuals = {concept.name: concept.individual for concept in CONCEPTS}
    arms = arms_of(runs)
    found = []
    for file in sorted(runs.glob("*/run.json")):
        folder = RunFolder(file.parent)
        record = folder.read()
        name = record.concept.name if record.concept else ""
        if file.parent.is_symlink() or record.base.kind != TOYBOX or name not in individuals:
            continue
        own, floor = _sets(folder)
        found.append(
            Judged(arms.get(file.parent.name, record.method), record, own, floor, name, individuals[name])
        )
    if not found:
        raise RunError(
            f"{runs} holds no toybox run of a shipped concept; make some with: coeffdream bench concepts"
        )
    return found


def arms_of(runs: Path) -> dict[str, str]:
    """By name of run, where a study made the runs: two arms may be of one method."""
    study = StudyFolder(runs.resolve().parent)
    return {cell.name: cell.arm for cell in study.read().cells} if study.record_file.is_file() else {}


def judge_runs(judge: Judge, runs: Sequence[Judged]) -> list[Verdict]:
    """A verdict per concept and arm over `runs`."""
    cells: dict[tuple[str, str], list[tuple[dict[str, Table], dict[str, Table]]]] = {}
    encoders = encoders_for(TOYBOX, ScoringOptions(device="cpu"))
    scorer = Scorer(encoders, FeatureCache())
    for run in runs:
        tables = tuple(
            _tables(judge, scorer, run.record, each, run.individual) for each in (run.own, run.floor)
        )
        cells.setdefault((run.concept, run.arm), []).append((tables[0], tables[1]))
    return [_verdict(concept, arm, tables) for (concept, arm), tables in sorted(cells.items())]


def _sets(folder: RunFolder) -> tuple[SetFolder, SetFolder]:
    """The run's own pictures and those of the untouched base."""
    scores = read_scores(folder.scores)
    if scores.floor_set is None:
        raise RunError(
            f"{folder.path} has no pictures of the untouched base; draw and score them with: "
            f"coeffdream generate --run {folder.path} --no-adapter, then coeffdream eval --run {folder.path}"
        )
    return find_set(folder.images, scores.set.name), SetFolder(folder.images / scores.floor_set)


def looked_at(
    judge: Judge, record: RunRecord, folder: SetFolder
) -> tuple[list[Picture], dict[str, list[int]], list[Wish]]:
    """The pictures of a run's set, what the judge reads in them, and what their prompts ask for."""
    pictures = pictures_of_set(
        folder,
        folder.read_set(),
        score_text="class",
        class_noun=record.class_nouns,
        token=record.tokens,
    )
    rows = [np.asarray(load_image(picture.path).resize((64, 64))).transpose(2, 0, 1) for picture in pictures]
    read = readings(judge, normalised(torch.from_numpy(np.stack(rows))))
    return pictures, read, [wish_of(picture) for picture in pictures]


def _tables(
    judge: Judge, scorer: Scorer, record: RunRecord, folder: SetFolder, individual: Individual
) -> dict[str, Table]:
    pictures, read, wishes = looked_at(judge, record, folder)
    aligned = [
        image.concept_alignment for image in scorer.pictures(pictures, references_of_run(record)).per_image
    ]
    values = {
        "match": own_match(read, wishes, individual),
        "place": place_kept(read, wishes),
        "alignment": aligned,
    }
    shape = (
        1 + max(picture.prompt_index for picture in pictures),
        1 + max(picture.image_index for picture in pictures),
    )
    return {name: np.asarray(column, dtype=np.float64).reshape(shape) for name, column in values.items()}


def wish_of(picture: Picture) -> Wish:
    """What the prompt of a picture asks for. Raises RunError for one outside the grammar."""
    try:
        return read_caption(picture.text)
    except PromptError as error:
        raise RunError(
            f"{picture.path} was drawn for a prompt outside the toybox's grammar: {error}"
        ) from None


def _verdict(concept: str, arm: str, cells: list[tuple[dict[str, Table], dict[str, Table]]]) -> Verdict:
    own, base = (
        {kind: np.mean([cell[side][kind] for cell in cells], axis=0) for kind in cells[0][0]}
        for side in (0, 1)
    )
    return Verdict(
        concept,
        arm,
        len(cells),
        match=_measured(own["match"]),
        base_match=_measured(base["match"]),
        alignment=_measured(own["alignment"]),
        base_alignment=_measured(base["alignment"]),
        place=float(np.nanmean(own["place"])),
        base_place=float(np.nanmean(base["place"])),
    )


def _measured(table: Table) -> Measured:
    asked = table[~np.isnan(table).any(axis=1)]
    interval = interval_inside_concept(asked[:, :, None], RESAMPLES, np.random.default_rng(0))
    low, high = interval if interval is not None else (float("nan"),) * 2
    return Measured(float(asked.mean()), low, high)


def as_text(verdicts: Sequence[Verdict]) -> str:
    """A table, and per arm how many concepts were learned."""
    lines = [
        "concept    arm             seeds  individual: base -> learned                    "
        "concept alignment: base -> learned              place"
    ]
    lines += [
        f"{v.concept:10} {v.arm:15} {v.seeds:5}  {v.base_match} -> {v.match}  "
        f"{v.base_alignment} -> {v.alignment}  {v.base_place:4.0%} -> {v.place:4.0%}"
        + ("" if v.learned else "  *")
        for v in verdicts
    ]
    for arm in dict.fromkeys(verdict.arm for verdict in verdicts):
        own = [verdict for verdict in verdicts if verdict.arm == arm]
        lines.append(
            f"{arm}: {sum(verdict.learned for verdict in own)} of {len(own)} learned "
            f"(both intervals apart from the base's, places followed {FOLLOWED:.0%} or more)"
        )
    return "\n".join(lines)


def as_json(verdicts: Sequence[Verdict]) -> list[dict[str, object]]:
    return [asdict(verdict) | {"learned": verdict.learned} for verdict in verdicts]
