"""The paired comparison itself: means, differences, intervals and tests of the groups of a pairing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from coeffdream.compare import statistics
from coeffdream.compare.drift import settle_drift
from coeffdream.compare.ends import ends_of
from coeffdream.compare.metrics import DRIFT, LATER, MEANS, Metric, jackknife_of, table_of
from coeffdream.compare.pairing import Group, Pairing
from coeffdream.compare.result import Comparison, Contrast, Difference, Estimate, MethodRow
from coeffdream.errors import counted
from coeffdream.records.measures import DIVERSITY, MEASURES, Measure
from coeffdream.records.scores import ScoresRecord

Array = NDArray[np.float64]

RESAMPLES = 2000
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class _Concept:
    """One concept's values of one metric: the mean, and how far its inside may move it.

    table: [P, I, R] for a mean over pictures; None for diversity, which has a jackknife, [P], instead.
    """

    value: float
    table: Array | None
    without: Array | None = None


def compare(pairing: Pairing, *, seed: int = 0, resamples: int = RESAMPLES) -> Comparison:
    """Compare every group but the first with its baseline. The same seed gives the same numbers."""
    pairing = settle_drift(pairing)
    first, *others = pairing.groups
    rows = [_row(group, seed, resamples) for group in pairing.groups]
    contrasts = [_contrast(pairing.baseline_of(other), other, seed, resamples) for other in others]
    scores = first.all_runs[0].scores
    return Comparison(
        grouped=pairing.grouped,
        concepts=pairing.concepts,
        training_seeds=sorted({run.seed for run in first.all_runs}, key=str),
        prompts=scores.overall.prompts,
        images_per_prompt=scores.overall.images_per_prompt,
        n=scores.overall.n,
        encoders={model: each.name for model, each in scores.encoders.used.items()},
        label=scores.label,
        seed=seed,
        resamples=resamples,
        level=statistics.LEVEL,
        rows=rows,
        contrasts=contrasts,
        notes=[*pairing.notes, *_limits(pairing, contrasts)],
        ends=ends_of(pairing, list(rows[0].scores), scores.overall.n),
    )


def estimates_of(scores: ScoresRecord, *, seed: int = 0, resamples: int = RESAMPLES) -> dict[str, Estimate]:
    """One set's scores by metric: `compare`'s row of this run. Raises ScoreError for an incomplete set."""
    return _estimates(_measured([[scores]]), seed, resamples)


def _row(group: Group, seed: int, resamples: int) -> MethodRow:
    runs = group.all_runs
    measured = _measured([[run.scores for run in runs] for runs in group.runs.values()])
    return MethodRow(
        group.label,
        group.method,
        [run.name for run in runs],
        runs[0].percent,
        _estimates(measured, seed, resamples),
        {
            name: dict(zip(group.runs, (concept.value for concept in concepts), strict=True))
            for name, concepts in measured.items()
        },
    )


def _measured(by_concept: Sequence[Sequence[ScoresRecord]]) -> dict[str, list[_Concept]]:
    """Every concept's values of each metric that all of them have."""
    found = {}
    for measure, metric in _metrics():
        concepts = [_concept(runs, None, metric) for runs in by_concept]
        known = [concept for concept in concepts if concept is not None]
        if len(known) == len(concepts):
            found[measure.name] = known
    return found


def _contrast(baseline: Group, other: Group, seed: int, resamples: int) -> Contrast:
    found: list[Difference] = []
    ours = {concept: [run.scores for run in runs] for concept, runs in other.runs.items()}
    theirs = {concept: [run.scores for run in runs] for concept, runs in baseline.runs.items()}
    for measure, metric in _metrics():
        concepts = [_concept(ours[c], theirs[c], metric) for c in theirs]
        known = [concept for concept in concepts if concept is not None]
        if len(known) < len(concepts):
            continue
        rng = np.random.default_rng([seed, len(found), 1])
        differences = np.array([concept.value for concept in known])
        pairs = np.concatenate(
            [_pairs(one, two, metric) for c in theirs for one, two in zip(ours[c], theirs[c], strict=True)]
        )
        means = [
            np.mean([own.value for scores in group.values() if (own := _concept(scores, None, metric))])
            for group in (theirs, ours)
        ]
        p = statistics.sign_flip_p(differences, rng)
        found.append(
            Difference(
                metric=measure.name,
                baseline=float(means[0]),
                value=float(means[1]),
                difference=_estimate(known, resamples, rng),
                by_concept=dict(zip(baseline.runs, differences.tolist(), strict=True)),
                win_rate=statistics.win_rate(-pairs if measure.less_is_better else pairs),
                pairs=len(pairs),
                p=p,
                p_holm=p,
            )
        )
    corrected = statistics.holm([each.p for each in found])
    return Contrast(
        other.label,
        baseline.label,
        [replace(each, p_holm=p) for each, p in zip(found, corrected, strict=True)],
    )


def _metrics() -> list[tuple[Measure, Metric | None]]:
    return [
        *((metric.measure, metric) for metric in MEANS),
        (DIVERSITY, None),
        *((metric.measure, metric) for metric in (DRIFT, *LATER)),
    ]


def _concept(
    runs: Sequence[ScoresRecord], less: Sequence[ScoresRecord] | None, metric: Metric | None
) -> _Concept | None:
    """One concept's values, averaged over training seeds; with `less`, the differences from those runs."""
    if metric is None:
        known = [scores.overall.diversity for scores in runs if scores.overall.diversity is not None]
        if len(known) < len(runs):
            return None
        value = float(np.mean(known))
        jackknives = [each for scores in runs if (each := jackknife_of(scores)) is not None]
        without = np.mean(jackknives, axis=0) if len(jackknives) == len(runs) else None
        own = _Concept(value, None, without)
    else:
        tables = [each for scores in runs if (each := table_of(scores, metric)) is not None]
        if len(tables) < len(runs):
            return None
        table = np.mean(tables, axis=0)
        own = _Concept(float(table.mean()), table)
    if less is None:
        return own
    base = _concept(less, None, metric)
    if base is None:
        return None
    return _Concept(
        own.value - base.value,
        None if own.table is None or base.table is None else own.table - base.table,
        None if own.without is None or base.without is None else own.without - base.without,
    )


def _pairs(one: ScoresRecord, two: ScoresRecord, metric: Metric | None) -> Array:
    if metric is None:
        assert one.overall.diversity is not None
        assert two.overall.diversity is not None
        return np.array([one.overall.diversity - two.overall.diversity])
    first, second = table_of(one, metric), table_of(two, metric)
    assert first is not None
    assert second is not None
    return np.asarray((first - second).mean(axis=2).ravel())


def _estimates(measured: dict[str, list[_Concept]], seed: int, resamples: int) -> dict[str, Estimate]:
    return {
        name: _estimate(concepts, resamples, np.random.default_rng([seed, index, 0])).within(MEASURES[name])
        for index, (name, concepts) in enumerate(measured.items())
    }


def _estimate(concepts: Sequence[_Concept], resamples: int, rng: np.random.Generator) -> Estimate:
    means = np.array([concept.value for concept in concepts])
    interval: statistics.Interval | None
    if 1 < len(concepts) < statistics.FEWEST_FOR_AN_INTERVAL:
        interval = None
    elif len(concepts) > 1:
        inside = [_resampled(concept, resamples, rng) for concept in concepts]
        interval = statistics.interval_over_concepts(means, inside, rng)
    elif concepts[0].table is not None:
        interval = statistics.interval_inside_concept(concepts[0].table, resamples, rng)
    else:
        without = concepts[0].without
        interval = None if without is None else statistics.jackknife_interval(concepts[0].value, without)
    low, high = interval or (None, None)
    return Estimate(float(means.mean()), low, high)


def _resampled(concept: _Concept, resamples: int, rng: np.random.Generator) -> Array:
    """[B] values of one concept with its inside drawn anew.

    Pictures drawn twice would bias Vendi down, so diversity moves by its jackknife error instead.
    """
    if concept.table is not None:
        return statistics.resampled_means(concept.table, resamples, rng)
    error = 0.0 if concept.without is None else statistics.jackknife_error(concept.without)
    return concept.value + error * rng.standard_normal(resamples)


def _limits(pairing: Pairing, contrasts: Sequence[Contrast]) -> list[str]:
    """What these numbers cannot say."""
    concepts, metrics = len(pairing.concepts), len(contrasts[0].differences)
    notes = []
    if concepts == 1:
        notes.append(f"one concept: the intervals speak of {pairing.concepts[0]!r} only, not of others")
    elif concepts < statistics.FEWEST_FOR_AN_INTERVAL:
        notes.append(f"{concepts} concepts: too few for an interval over concepts")
    least = statistics.least_p(concepts)
    if least > SIGNIFICANT:
        notes.append(
            f"{counted(concepts, 'concept')}: the smallest p of the sign-flip test is {least:.3g}, "
            "so no difference can be significant; six concepts are the least"
        )
    elif least * metrics > SIGNIFICANT:
        notes.append(
            f"{counted(concepts, 'concept')}: the smallest p of the sign-flip test is {least:.3g}, "
            f"so no difference can stay significant once {metrics} metrics are corrected for"
        )
    return notes
