"""`python -m coeffdream.workshop.rates STUDY`: at which learning rate each method of a finished study is worth the most.

The study's arms are methods at rates (docs/rates.toml). Worth is what the rule of `sweep` means by it: likeness gained,
prompts followed and other pictures left alone, multiplied, on every concept; here its mean over them.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from coeffdream.errors import RunError, UserError
from coeffdream.metrics.against import score_against
from coeffdream.metrics.encoder_choice import TOYBOX, encoders_for
from coeffdream.metrics.feature_cache import FeatureCache
from coeffdream.metrics.inputs import Picture, pictures_of_set, references_of_run
from coeffdream.metrics.measure import Scorer
from coeffdream.metrics.options import ScoringOptions
from coeffdream.metrics.registry import chosen
from coeffdream.records.images import SetFolder
from coeffdream.records.run import RunFolder
from coeffdream.records.scores import ScoresRecord, read_scores
from coeffdream.records.study import StudyFolder
from coeffdream.records.study_plan import Cell
from coeffdream.records.sweep import Levels, Point, Shares
from coeffdream.studies.keep import shares_of
from coeffdream.studies.levels import known, levels_of

SCORES = "text,concept,drift"


@dataclass(frozen=True)
class AtRate:
    """A method at a rate: one row of shares for each concept and seed."""

    method: str
    rate: float
    cells: list[Shares]

    @property
    def worth(self) -> float:
        return float(np.mean([each.worth for each in self.cells]))

    @property
    def error(self) -> float:
        """Standard error of the worth over concepts and seeds."""
        worth = [each.worth for each in self.cells]
        return float(np.std(worth, ddof=1) / np.sqrt(len(worth))) if len(worth) > 1 else float("nan")

    def mean(self, share: str) -> float:
        return float(np.mean([getattr(each, share) for each in self.cells]))


def rated(folder: Path) -> list[AtRate]:
    """Methods at rates, in the order of the study's arms. Raises RunError for a study that is not finished, or not of rates."""
    kept = StudyFolder(folder)
    study = kept.read()
    options = {arm: study.options_of(arm) for arm in study.methods}
    if unsaid := [arm for arm in study.methods if "lr" not in options[arm]]:
        raise RunError(f"{folder} is no study of rates: arm {unsaid[0]} names no lr")
    by_concept: dict[tuple[str, int], list[Cell]] = defaultdict(list)
    for cell in study.cells:
        if not kept.run(cell).scores.is_file():
            raise RunError(f"{folder} is not finished: {cell.name} has no scores; run its command again")
        by_concept[cell.concept, cell.seed].append(cell)
    scorer = Scorer(
        encoders_for(TOYBOX, ScoringOptions(), chosen(SCORES)), FeatureCache(), scores=chosen(SCORES)
    )
    shares: dict[str, list[Shares]] = defaultdict(list)
    for cells in by_concept.values():
        scores = [read_scores(kept.run(cell).scores) for cell in cells]
        levels = _levels(scorer, kept.run(cells[0]), scores[0])
        points = [_point(each) for each in scores]
        for cell, share in zip(cells, shares_of(points, levels), strict=True):
            shares[cell.arm].append(share)
    return [
        AtRate(str(options[arm]["method"]), float(options[arm]["lr"]), shares[arm]) for arm in study.methods
    ]


def _levels(scorer: Scorer, run: RunFolder, scores: ScoresRecord) -> Levels:
    record = run.read()

    def pictures(name: str | None) -> list[Picture]:
        if name is None:
            raise RunError(f"{run.path} was scored without the untouched base's pictures")
        folder = SetFolder(run.images / name)
        return pictures_of_set(
            folder, folder.read_set(), score_text="class", class_noun=record.class_noun, token=record.token
        )

    own = pictures(scores.floor_set)
    untouched = score_against(scorer, own, [], references_of_run(record))
    return levels_of(scorer, own, pictures(scores.drift.base_set if scores.drift else None), untouched)


def _point(scores: ScoresRecord) -> Point:
    assert scores.drift is not None  # _levels found its pictures
    return Point(
        step=1,
        lora_scale=1.0,
        alpha_scale=1.0,
        likeness=known(scores.overall.concept_alignment),
        text_alignment=known(scores.overall.text_alignment),
        drift=known(scores.drift.clip),
    )


def as_text(rows: list[AtRate]) -> str:
    """A line for each, and a mark at each method's best."""
    best = {
        row.method: max((r for r in rows if r.method == row.method), key=lambda r: r.worth) for row in rows
    }
    lines = [
        f"{'method':12} {'rate':>8} {'gained':>8} {'followed':>9} {'unchanged':>10}   worth (standard error)"
    ]
    for row in rows:
        lines.append(
            f"{row.method:12} {row.rate:8g} {row.mean('gained'):8.0%} {row.mean('followed'):9.0%} "
            f"{row.mean('unchanged'):10.0%}   {row.worth:.3f} ({row.error:.3f})"
            + ("  best" if row is best[row.method] else "")
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m coeffdream.workshop.rates", description=__doc__)
    parser.add_argument("study", type=Path)
    try:
        print(as_text(rated(parser.parse_args().study)))
    except UserError as problem:
        parser.exit(2, f"error: {problem}\n")


if __name__ == "__main__":
    main()
