"""`python -m coeffdream.workshop.worth STUDY`: what each arm of a finished study is worth by the rule of `sweep`.

Worth is what that rule means by it: likeness gained, prompts followed and other pictures left alone, multiplied, for
every concept and training seed. Its mean over seeds is one number a concept, and it is concepts that means, errors,
intervals and tests are over. Beside it what an arm is worth more than the one that it is compared with.

Between what a share lies is measured on the untouched base's pictures. Where records were kept without them,
levels.json in the study's folder says it.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from coeffdream.compare.statistics import sign_flip_p
from coeffdream.errors import RunError, UserError
from coeffdream.metrics.against import score_against
from coeffdream.metrics.encoder_choice import TOYBOX, encoders_for
from coeffdream.metrics.feature_cache import FeatureCache
from coeffdream.metrics.inputs import Picture, pictures_of_set, references_of_run
from coeffdream.metrics.measure import Scorer
from coeffdream.metrics.options import ScoringOptions
from coeffdream.metrics.registry import chosen
from coeffdream.records.fields import record_from_json
from coeffdream.records.files import read_json
from coeffdream.records.images import SetFolder
from coeffdream.records.run import RunFolder
from coeffdream.records.scores import ScoresRecord, read_scores
from coeffdream.records.study import StudyFolder
from coeffdream.records.study_plan import Cell, Study
from coeffdream.records.sweep import Levels, Point, Shares
from coeffdream.studies.keep import shares_of
from coeffdream.studies.levels import known, levels_of

SCORES = "text,concept,drift"
LEVELS = "levels.json"


@dataclass(frozen=True)
class Difference:
    """Of worth, over concepts: mean, 95 % t-interval, p of the sign-flip test."""

    value: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class KeptLevels:
    """Between what the shares of one concept and training seed lie."""

    concept: str
    seed: int
    levels: Levels


@dataclass(frozen=True)
class Arm:
    """The shares of each concept, one for a training seed. twin: those of the arm that this one is compared with."""

    name: str
    method: str
    shares: dict[str, list[Shares]]
    twin: dict[str, list[Shares]] | None = None

    @property
    def worth(self) -> tuple[float, float]:
        """Mean and standard error over concepts."""
        each = _worth(self.shares)
        return float(each.mean()), _error(each)

    @property
    def more(self) -> Difference | None:
        """What it is worth more than its twin; None without one."""
        if self.twin is None:
            return None
        each = _worth(self.shares) - _worth(self.twin)
        half = float(stats.t.ppf(0.975, len(each) - 1)) * _error(each)
        value = float(each.mean())
        return Difference(value, value - half, value + half, sign_flip_p(each, np.random.default_rng(0)))

    def share(self, name: str) -> float:
        return float(np.mean([getattr(each, name) for seeds in self.shares.values() for each in seeds]))


def worth_of(folder: Path) -> list[Arm]:
    """In the order of the study's arms. Raises RunError for a study that is not finished."""
    study, by_concept = _finished(folder)
    levels = {(each.concept, each.seed): each.levels for each in levels_within(folder)}
    shares: dict[str, dict[str, list[Shares]]] = defaultdict(lambda: defaultdict(list))
    for (concept, seed), cells in by_concept.items():
        points = [_point(read_scores(StudyFolder(folder).run(cell).scores)) for cell in cells]
        for cell, share in zip(cells, shares_of(points, levels[concept, seed]), strict=True):
            shares[cell.arm][concept].append(share)
    return [
        Arm(
            arm,
            str(study.options_of(arm)["method"]),
            shares[arm],
            shares[baseline] if (baseline := study.baseline_of(arm)) else None,
        )
        for arm in study.methods
    ]


def levels_within(folder: Path) -> list[KeptLevels]:
    """Of each concept and training seed of a finished study: what levels.json holds where pictures are left out.

    Raises RunError for a study that is not finished, or has neither.
    """
    _, by_concept = _finished(folder)
    file = folder / LEVELS
    listed = record_from_json(list[KeptLevels], read_json(file), file) if file.is_file() else []
    kept = {(each.concept, each.seed): each for each in listed}
    scorer = Scorer(
        encoders_for(TOYBOX, ScoringOptions(), chosen(SCORES)), FeatureCache(), scores=chosen(SCORES)
    )
    found = []
    for (concept, seed), cells in by_concept.items():
        run = StudyFolder(folder).run(cells[0])
        scores = read_scores(run.scores)
        if scores.floor_set is None or scores.drift is None:
            raise RunError(f"{run.path} was scored without the untouched base's pictures")
        if (run.images / scores.floor_set).is_dir():
            levels = _measured(scorer, run, scores.floor_set, scores.drift.base_set)
            found.append(KeptLevels(concept, seed, levels))
        elif (concept, seed) in kept:
            found.append(kept[concept, seed])
        else:
            raise RunError(
                f"{run.path} has no pictures, and {file} says nothing of them: make that run again"
            )
    return found


def _finished(folder: Path) -> tuple[Study, dict[tuple[str, int], list[Cell]]]:
    kept = StudyFolder(folder)
    study = kept.read()
    by_concept: dict[tuple[str, int], list[Cell]] = defaultdict(list)
    for cell in study.cells:
        if not kept.run(cell).scores.is_file():
            raise RunError(f"{folder} is not finished: {cell.name} has no scores; run its command again")
        by_concept[cell.concept_name, cell.seed].append(cell)
    return study, by_concept


def _measured(scorer: Scorer, run: RunFolder, floor: str, base: str) -> Levels:
    record = run.read()

    def pictures(name: str) -> list[Picture]:
        folder = SetFolder(run.images / name)
        return pictures_of_set(
            folder, folder.read_set(), score_text="class", class_noun=record.class_noun, token=record.token
        )

    own = pictures(floor)
    untouched = score_against(scorer, own, [], references_of_run(record))
    return levels_of(scorer, own, pictures(base), untouched)


def _point(scores: ScoresRecord) -> Point:
    assert scores.drift is not None  # levels_within looked
    return Point(
        step=1,
        lora_scale=1.0,
        alpha_scale=1.0,
        likeness=known(scores.overall.concept_alignment),
        text_alignment=known(scores.overall.text_alignment),
        drift=known(scores.drift.clip),
    )


def as_text(arms: list[Arm]) -> str:
    """A line for each, and a mark at each method's best."""
    best = {
        arm.method: max((a for a in arms if a.method == arm.method), key=lambda a: a.worth) for arm in arms
    }
    wide = max(len(arm.name) for arm in arms)
    lines = [
        f"{'arm':{wide}} {'gained':>7} {'followed':>9} {'unchanged':>10} {'worth':>15} {'more than its twin':>33}"
    ]
    for arm in arms:
        more = (
            ""
            if (by := arm.more) is None
            else f"{by.value:+.3f} [{by.low:+.3f}, {by.high:+.3f}], p {by.p:.2g}"
        )
        mark = "  best of its method" if arm is best[arm.method] else ""
        lines.append(
            f"{arm.name:{wide}} {arm.share('gained'):7.0%} {arm.share('followed'):9.0%} {arm.share('unchanged'):10.0%} "
            f"{arm.worth[0]:7.3f} ± {arm.worth[1]:.3f} {more:>33}{mark}"
        )
    return "\n".join(lines)


def _worth(shares: dict[str, list[Shares]]) -> NDArray[np.float64]:
    """[C], each the mean over seeds."""
    return np.array([np.mean([each.worth for each in seeds]) for seeds in shares.values()])


def _error(values: NDArray[np.float64]) -> float:
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m coeffdream.workshop.worth", description=__doc__)
    parser.add_argument("study", type=Path)
    try:
        print(as_text(worth_of(parser.parse_args().study)))
    except UserError as problem:
        parser.exit(2, f"error: {problem}\n")


if __name__ == "__main__":
    main()
