"""The scores' maths on vectors whose answers are known."""

from __future__ import annotations

import re

import numpy as np
import pytest

from coeffdream.errors import ScoreError
from coeffdream.metrics import features as maths


def clusters(count: int, each: int, width: int) -> np.ndarray:
    return np.repeat(np.eye(count, width), each, axis=0)


@pytest.mark.parametrize(("n", "width"), [(1, 5), (7, 5), (5, 7), (100, 768)])
def test_identical_pictures_count_as_one(n, width):
    """A model that draws one picture over and over must not score as diverse."""
    assert maths.vendi(np.tile(np.arange(1.0, width + 1), (n, 1))) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(("n", "width"), [(1, 1), (6, 6), (6, 40), (100, 768)])
def test_orthonormal_pictures_count_all(n, width):
    """n pictures with nothing in common are n different pictures."""
    assert maths.vendi(np.eye(n, width)) == pytest.approx(n, rel=1e-9)


@pytest.mark.parametrize(("count", "each", "width"), [(3, 4, 3), (4, 2, 30), (10, 10, 64)])
def test_equal_clusters_count_as_many(count, each, width):
    """k kinds of picture, equally often, are k different pictures."""
    assert maths.vendi(clusters(count, each, width)) == pytest.approx(count, rel=1e-9)


@pytest.mark.parametrize("width", [6, 40])
def test_drawing_every_picture_twice_changes_nothing(width):
    """Vendi is a property of the distribution; duplicates alone do not add diversity."""
    rows = np.random.default_rng(0).normal(size=(12, width)) + 1
    assert maths.vendi(np.repeat(rows, 2, axis=0)) == pytest.approx(maths.vendi(rows), rel=1e-9)


def test_vendi_ignores_the_length_of_features():
    """Unnormalised rows would silently give garbage, so the length must be divided out."""
    rows = np.random.default_rng(0).normal(size=(9, 16)) + 1
    scaled = rows * np.arange(1, 10)[:, None]
    assert maths.vendi(scaled) == pytest.approx(maths.vendi(rows), rel=1e-12)


@pytest.mark.parametrize(("n", "width"), [(20, 64), (64, 20)])
def test_vendi_is_the_entropy_of_the_kernels_eigenvalues(n, width):
    """Definition of the paper (exp of the entropy of K/n), computed here from the n x n kernel instead."""
    rows = np.random.default_rng(1).normal(size=(n, width)) + 0.5
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    eigenvalues = np.linalg.eigvalsh(unit @ unit.T / n)
    eigenvalues = eigenvalues[eigenvalues > 1e-12]
    assert maths.vendi(rows) == pytest.approx(np.exp(-(eigenvalues * np.log(eigenvalues)).sum()), rel=1e-9)


def test_vendi_grows_with_n():
    """The reason why unequal n may not be compared, and why n is always shown."""
    rows = np.random.default_rng(2).normal(size=(100, 256)) + 1.5
    scores = [maths.vendi(rows[:n]) for n in (25, 50, 75, 100)]
    assert scores == sorted(scores)
    assert scores[-1] > 1.1 * scores[0]


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
@pytest.mark.parametrize("where", [[2], [0, 3]])
def test_useless_rows_are_refused_by_number(bad, where):
    """score_dual would turn a zero row into silence and a NaN into a NaN score."""
    rows = np.ones((5, 4))
    rows[where] = bad
    with pytest.raises(ScoreError, match=rf"{len(where)} of 5 .*rows {', '.join(map(str, where))}\)"):
        maths.vendi(rows)


def test_a_row_with_one_nan_is_refused():
    """One bad number spoils a row as surely as a row of them."""
    rows = np.ones((3, 4))
    rows[1, 2] = np.nan
    with pytest.raises(ScoreError, match="rows 1"):
        maths.text_alignment(rows, np.ones((3, 4)))


@pytest.mark.parametrize("shape", [(3,), (0, 4), (3, 0), (2, 3, 4)])
def test_features_of_another_shape_are_refused(shape):
    """No pictures, or one row taken for a set."""
    with pytest.raises(ScoreError, match=rf"features have shape {re.escape(str(shape))} where"):
        maths.unit_rows(np.ones(shape))


def test_text_alignment_pairs_row_with_row():
    """Each picture is held against its own text: known angles give known cosines."""
    images = [[2, 0], [0, 3], [1, 1]]
    texts = [[5, 0], [1, 0], [1, 0]]
    np.testing.assert_allclose(maths.text_alignment(images, texts), [1, 0, np.sqrt(0.5)], atol=1e-15)


def test_text_alignment_refuses_unpaired_rows():
    """A missing text must not shift all the following pairs by one."""
    with pytest.raises(ScoreError, match="do not pair"):
        maths.text_alignment(np.ones((3, 4)), np.ones((2, 4)))


def test_concept_alignment_is_the_mean_of_all_pairs():
    """The mean over pictures of each one's mean over photos; not the cosine with the photos' mean vector."""
    images, photos = [[1, 0], [0, 1]], [[1, 0], [0, 2], [3, 3]]
    root = np.sqrt(0.5)
    np.testing.assert_allclose(maths.concept_alignment(images, photos), [(1 + root) / 3, (1 + root) / 3])
    pairs = [1, 0, root, 0, 1, root]
    assert maths.concept_alignment(images, photos).mean() == pytest.approx(np.mean(pairs))


def test_negative_cosines_stay_negative():
    """Raw cosine: neither clipped at 0 nor multiplied by 2.5 or 100, as CLIPScore and logits are."""
    assert maths.concept_alignment([[1, 0]], [[-2, 0]]) == pytest.approx(-1)


def test_nearest_reference_is_the_maximum():
    """A picture that copies one photo shows here and not in the mean."""
    images, photos = [[1, 0], [1, 1]], [[1, 0], [0, 1], [-1, 0]]
    np.testing.assert_allclose(maths.nearest_reference(images, photos), [1, np.sqrt(0.5)])


def test_leave_one_out_never_meets_itself():
    """A photo's cosine with itself is 1 and would lift the ceiling."""
    rows = maths.leave_one_out([[1, 0], [0, 1], [1, 1]])
    root = np.sqrt(0.5)
    np.testing.assert_allclose(rows, [[0, root], [0, root], [root, root]], atol=1e-15)


def test_leave_one_out_needs_two():
    """One photo has nothing to be compared with."""
    with pytest.raises(ScoreError, match="two are the least"):
        maths.leave_one_out([[1, 0]])


def test_vendi_by_group_sees_each_prompt_alone():
    """Within-prompt diversity: two equal pictures score 1, two with nothing in common 2."""
    rows = [[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]]
    found = maths.vendi_by_group(rows, [7, 3, 7, 3])
    assert list(found) == [7, 3]
    assert found == pytest.approx({7: 1, 3: 2})


def test_vendi_without_group_is_vendi_of_the_rest():
    """The jackknife's values are Vendi of what is left when a prompt is taken out."""
    rows = np.random.default_rng(3).normal(size=(12, 40)) + 1
    groups = [0, 1, 2, 3] * 3
    found = maths.vendi_without_group(rows, groups)
    for group, value in found.items():
        rest = [row for row, own in zip(rows, groups, strict=True) if own != group]
        assert value == pytest.approx(maths.vendi(rest), rel=1e-9)
    assert maths.vendi_without_group(rows, [0] * 12) == {}


def test_groups_must_pair_with_rows():
    """A label too few would leave a picture out without a word."""
    with pytest.raises(ScoreError, match="do not pair"):
        maths.vendi_by_group(np.eye(3), [0, 0])


def test_arithmetic_is_float64():
    """float32 features are only the input: a mean over 100 x 5 pairs keeps its digits."""
    rows = np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32)
    assert maths.unit_rows(rows).dtype == np.float64
    np.testing.assert_allclose(np.linalg.norm(maths.unit_rows(rows), axis=1), 1, rtol=1e-15)
