"""Intervals and tests for paired scores as pure functions of arrays: no files, no records.

Shapes: C concepts, P prompts, I images of a prompt, R references, B resamples. One concept's table is
[P, I, R]; a score that knows no references has R = 1. Training seeds are averaged before.

An interval is studentised: the resampled means' distance from the mean, in units of their own standard
error, says how many standard errors wide it must be. Plain percentiles of a hierarchical bootstrap
count the spread inside a concept twice and that between few concepts too low (docs/comparing.md has
the coverage of both).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
Interval = tuple[float, float]

LEVEL = 0.95
# Below this, resamples that hold one cluster only are no rare exception: Student's t takes over.
FEWEST_TO_RESAMPLE = 4
# Student's t of two concepts is 12.7 standard errors wide: an interval that says nothing, and passes every bound.
FEWEST_FOR_AN_INTERVAL = 3
MOST_TO_ENUMERATE = 14  # 2^14 sign patterns
RANDOM_FLIPS = 19_999


def resampled_means(table: Array, count: int, rng: np.random.Generator) -> Array:
    """[P, I, R] -> [count] means of one concept whose prompts, images and references were drawn anew."""
    prompts, images, references = table.shape
    prompt, image = _draw(prompts, images, count, rng)
    place = (prompt * images + image).reshape(count, -1)
    rows = table.reshape(-1, references)
    if references == 1:
        return np.asarray(rows[:, 0].take(place).mean(axis=1))
    # References first: [count, P I] and not [count, P, I, R] numbers.
    weights = rng.multinomial(references, np.full(references, 1 / references), size=count) / references
    return np.asarray(np.take_along_axis(weights @ rows.T, place, axis=1).mean(axis=1))


def resampled_tables(table: Array, count: int, rng: np.random.Generator) -> Array:
    """[P, I, R] -> [count, P, R]: as `resampled_means`, with the prompts and references drawn kept apart."""
    prompts, images, references = table.shape
    prompt, image = _draw(prompts, images, count, rng)
    reference = rng.integers(references, size=(count, 1, references))
    return np.asarray(np.take_along_axis(table[prompt, image].mean(axis=2), reference, axis=2))


def _draw(prompts: int, images: int, count: int, rng: np.random.Generator) -> tuple[Indices, Indices]:
    """Prompts with replacement, [count, P, 1], and images inside each prompt drawn, [count, P, I]."""
    return rng.integers(prompts, size=(count, prompts, 1)), rng.integers(
        images, size=(count, prompts, images)
    )


def interval_over_concepts(means: Array, resampled: Sequence[Array], rng: np.random.Generator) -> Interval:
    """95 % interval of the mean over concepts: concept -> prompt -> image.

    means: [C], C >= 2. resampled[c]: [B], means of concept c with its inside drawn anew; each resample
    draws C concepts and, for each, one of these.
    """
    concepts, resamples = len(means), len(resampled[0])
    chosen = rng.integers(concepts, size=(resamples, concepts))
    inside = rng.integers(resamples, size=(resamples, concepts))
    drawn = np.stack(resampled)[chosen, inside]
    return _studentised(
        float(means.mean()),
        _standard_error(means),
        drawn.mean(axis=1),
        _standard_error(drawn),
        clusters=concepts,
    )


def interval_inside_concept(table: Array, resamples: int, rng: np.random.Generator) -> Interval | None:
    """95 % interval of one concept's mean, [P, I, R]: prompt -> image, and references.

    Speaks of this concept only. None when a single picture leaves nothing to resample.
    """
    if len(table) == 1:
        table = table.transpose(1, 0, 2)  # one prompt: its images are what was repeated
    if len(table) == 1:
        return None
    drawn = resampled_tables(table, resamples, rng)
    return _studentised(
        float(table.mean()),
        float(_crossed_standard_error(table.mean(axis=1)[None])[0]),
        drawn.mean(axis=(1, 2)),
        _crossed_standard_error(drawn),
        clusters=len(table),
    )


def jackknife_interval(value: float, without: Array) -> Interval:
    """95 % interval of a score of a whole set from its values without each prompt, [P], P >= 2."""
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(without) - 1)) * jackknife_error(without)
    return value - half, value + half


def jackknife_error(without: Array) -> float:
    """Standard error from the delete-one values, [P] (Efron and Tibshirani 1993, eq. 11.5)."""
    count = len(without)
    return float(np.sqrt((count - 1) / count * np.square(without - without.mean()).sum()))


def sign_flip_p(differences: ArrayLike, rng: np.random.Generator) -> float:
    """Two-sided p of the sign-flip test on concept differences, [C].

    Without an effect each difference is as likely to have either sign. All 2^C patterns are counted
    up to C = 14; above, 19,999 random ones and the one observed.
    """
    values = np.asarray(differences)
    if len(values) < 2:
        return 1.0  # the other sign is as likely
    # In whole parts of the largest, whose sums are exact: added up in another order, floats may differ in a digit.
    values = np.rint(values / (np.abs(values).max() or 1.0) * 2**40)
    test = stats.permutation_test(
        (values,),
        lambda sample, axis: sample.sum(axis=axis),
        permutation_type="samples",
        n_resamples=2**MOST_TO_ENUMERATE if len(values) <= MOST_TO_ENUMERATE else RANDOM_FLIPS,
        vectorized=True,
        rng=rng,
    )
    return float(test.pvalue)


def least_p(concepts: int) -> float:
    """The smallest p that the sign-flip test can give."""
    return 2.0 ** (1 - concepts) if concepts <= MOST_TO_ENUMERATE else 2 / (RANDOM_FLIPS + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction, in the order given (Holm 1979)."""
    count = len(p_values)
    adjusted = [0.0] * count
    highest = 0.0
    for rank, index in enumerate(sorted(range(count), key=lambda index: p_values[index])):
        highest = max(highest, min(1.0, (count - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def win_rate(differences: ArrayLike) -> float:
    """Share of the pairs with a positive difference; ties count half."""
    values = np.asarray(differences)
    return float(np.mean((np.sign(values) + 1) / 2))


def _standard_error(values: Array) -> Array:
    """Of the mean over the last axis."""
    return np.asarray(values.std(axis=-1, ddof=1) / np.sqrt(values.shape[-1]))


def _crossed_standard_error(tables: Array) -> Array:
    """[B, P, R] -> [B]: of the mean of a table whose rows and columns were both drawn.

    The part where both meet is counted twice, which errs to the wide side.
    """
    rows = _standard_error(tables.mean(axis=2))
    columns = _standard_error(tables.mean(axis=1)) if tables.shape[2] > 1 else 0.0
    return np.asarray(np.hypot(rows, columns))


def _studentised(
    estimate: float, error: ArrayLike, estimates: Array, errors: Array, *, clusters: int
) -> Interval:
    """Symmetric bootstrap-t (Hall 1988) from B resampled estimates with their own standard errors."""
    whole = np.asarray(error).item()  # of all concepts: one number
    quantile = float(stats.t.ppf((1 + LEVEL) / 2, clusters - 1))
    if clusters >= FEWEST_TO_RESAMPLE:
        # A resample of one cluster alone has no error of its own to be measured in.
        usable = errors > 1e-9 * whole
        if usable.any():
            distances = np.abs(estimates[usable] - estimate) / errors[usable]
            quantile = float(np.quantile(distances, LEVEL))
    return estimate - quantile * whole, estimate + quantile * whole
