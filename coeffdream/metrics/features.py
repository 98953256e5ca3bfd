"""The scores as pure functions of features: arrays in, numbers out, float64, no files and no models.

Shapes: n images, r references, D the encoder's width. Features come in raw; every function here
normalises the rows itself, so a cosine is a dot product.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from coeffdream.errors import ScoreError

Array = NDArray[np.float64]

# The order of the entropy under Vendi. vendi-score's score_dual is sound for 1 only: below it,
# eigenvalues that are rounding noise count as if they were pictures.
VENDI_Q = 1


def unit_rows(features: ArrayLike) -> Array:
    """[n, D] -> [n, D] in float64 with rows of length 1.

    Raises ScoreError that names the rows which are zero or not finite: normalising would turn them
    into silent zeros, and a zero row lowers every mean and shrinks Vendi's trace.
    """
    rows = np.asarray(features, dtype=np.float64)
    if rows.ndim != 2 or 0 in rows.shape:
        raise ScoreError(
            f"features have shape {rows.shape} where [images, width] with at least one image was expected"
        )
    lengths = np.linalg.norm(rows, axis=1)
    bad = np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))
    if bad.size:
        named = ", ".join(str(row) for row in bad[:8]) + (", ..." if bad.size > 8 else "")
        raise ScoreError(
            f"{bad.size} of {len(rows)} feature rows are zero or not finite (rows {named}); "
            "look at those pictures and at the encoder's weights"
        )
    return rows / lengths[:, None]


def similarities(image_features: ArrayLike, reference_features: ArrayLike) -> Array:
    """Cosine of every image with every reference: [n, D], [r, D] -> [n, r]."""
    return unit_rows(image_features) @ unit_rows(reference_features).T


def text_alignment(image_features: ArrayLike, text_features: ArrayLike) -> Array:
    """Cosine of each image with its own text: [n, D], [n, D] -> [n]."""
    return _paired(image_features, text_features, "text")


def drift(image_features: ArrayLike, base_features: ArrayLike) -> Array:
    """1 - cosine of each image with its counterpart by the untouched base: [n, D], [n, D] -> [n], 0 for equal ones."""
    # Rounding may put a picture's cosine with itself above 1.
    return np.maximum(0.0, 1.0 - _paired(image_features, base_features, "image"))


def _paired(image_features: ArrayLike, other_features: ArrayLike, other: str) -> Array:
    images, others = unit_rows(image_features), unit_rows(other_features)
    if images.shape != others.shape:
        raise ScoreError(f"{images.shape} image features do not pair with {others.shape} {other} features")
    return np.asarray((images * others).sum(axis=1))


def concept_alignment(image_features: ArrayLike, reference_features: ArrayLike) -> Array:
    """Each image's mean cosine with the references: [n, D], [r, D] -> [n]; its mean is that of all pairs."""
    return similarities(image_features, reference_features).mean(axis=1)


def nearest_reference(image_features: ArrayLike, reference_features: ArrayLike) -> Array:
    """Each image's cosine with the reference most like it: [n, D], [r, D] -> [n]."""
    return similarities(image_features, reference_features).max(axis=1)


def spread(nearest: ArrayLike) -> dict[str, float]:
    """What a set's [n] nearest cosines come to, by the field of `Summary`."""
    rows = np.asarray(nearest, dtype=np.float64)
    return {
        "nearest_mean": float(rows.mean()),
        "nearest_p95": float(np.percentile(rows, 95)),
        "nearest_max": float(rows.max()),
    }


def patch_alignment(reference_patches: ArrayLike, image_patches: ArrayLike) -> float:
    """The mean, over a photo's patches, of the cosine with the patch of the picture most like it: [S, D], [P, D].

    Where in the picture that patch is does not matter: the thing may be drawn elsewhere, or smaller.
    """
    return float(similarities(reference_patches, image_patches).max(axis=1).mean())


def leave_one_out(reference_features: ArrayLike) -> Array:
    """Cosine of each reference with every other one: [r, D] -> [r, r - 1]. Needs r >= 2."""
    square = similarities(reference_features, reference_features)
    count = len(square)
    if count < 2:
        raise ScoreError(f"{count} reference cannot be compared with the others; two are the least")
    return square[~np.eye(count, dtype=bool)].reshape(count, count - 1)


def vendi(features: ArrayLike) -> float:
    """The Vendi score of order 1 (Friedman and Dieng 2023) with the cosine kernel: [n, D] -> 1 ... n.

    The effective number of different pictures. It grows with n: compare equal n only.
    """
    from vendi_score.vendi import score_dual

    return float(score_dual(_in_their_span(unit_rows(features)), q=VENDI_Q, normalize=True))


def vendi_by_group(features: ArrayLike, groups: Sequence[int]) -> dict[int, float]:
    """Vendi of each group's rows alone, in the order the groups appear: the within-prompt diversity."""
    rows = _in_their_span(unit_rows(features))
    return {group: vendi(rows[member]) for group, member in _members(groups, len(rows)).items()}


def vendi_without_group(features: ArrayLike, groups: Sequence[int]) -> dict[int, float]:
    """Vendi of all rows but one group's, for each group: the delete-one-prompt jackknife.

    Resampling images with replacement would bias Vendi down, because duplicates add nothing to it.
    Empty when there is one group only.
    """
    rows = _in_their_span(unit_rows(features))
    members = _members(groups, len(rows))
    if len(members) < 2:
        return {}
    return {group: vendi(rows[~member]) for group, member in members.items()}


def _in_their_span(rows: Array) -> Array:
    """[n, D] -> [n, min(n, D)]: a rotation, so cosines stay, and no eigenproblem is larger than n."""
    return np.asarray(np.linalg.qr(rows.T, mode="r")).T if len(rows) < rows.shape[1] else rows


def _members(groups: Sequence[int], count: int) -> dict[int, NDArray[np.bool_]]:
    if len(groups) != count:
        raise ScoreError(f"{len(groups)} group labels do not pair with {count} feature rows")
    return {group: np.array([other == group for other in groups]) for group in dict.fromkeys(groups)}
