"""Intervals, the sign-flip test and Holm against answers known otherwise."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from coeffdream.compare import statistics


@pytest.fixture
def rng():
    return np.random.default_rng(7)


class TestResampling:
    """Drawing the inside of one concept anew."""

    def test_moments_are_those_of_the_hierarchy(self, rng):
        """Prompts, images in them and references each add their share of the variance: none is left out."""
        size = (25, 4, 5)
        parts = [rng.normal(size=(25, 1, 1)), rng.normal(size=(25, 4, 1)), rng.normal(size=5)]
        for part in parts:
            table = np.broadcast_to(part, size)
            drawn = statistics.resampled_means(table, 4000, rng)
            kept = table.mean(axis=1)
            expected = kept.mean(axis=1).var() / 25 + kept.mean(axis=0).var() / 5
            expected += (table.var(axis=1).mean() / 100) if part.shape == (25, 4, 1) else 0.0
            assert drawn.mean() == pytest.approx(table.mean(), abs=4 * (expected / 4000) ** 0.5 + 1e-12)
            assert drawn.var() == pytest.approx(expected, rel=0.15)

    def test_means_and_tables_agree(self):
        """The quick way of drawing means is the plain one: same spread, same centre."""
        table = np.random.default_rng(1).normal(size=(6, 3, 4))
        quick = statistics.resampled_means(table, 20_000, np.random.default_rng(2))
        plain = statistics.resampled_tables(table, 20_000, np.random.default_rng(3)).mean(axis=(1, 2))
        assert quick.mean() == pytest.approx(plain.mean(), abs=0.01)
        assert quick.std() == pytest.approx(plain.std(), rel=0.03)

    def test_two_photos_are_both_drawn(self, rng):
        """A table of two references is no table of one."""
        drawn = statistics.resampled_means(np.array([[[0.0, 1.0]] * 3] * 4), 4000, rng)
        assert drawn.mean() == pytest.approx(0.5, abs=0.03)
        assert set(np.round(drawn, 6)) == {0.0, 0.5, 1.0}

    def test_a_constant_table_stays_itself(self, rng):
        """Weights of a resample add up to one."""
        assert statistics.resampled_means(np.full((5, 3, 2), 0.3), 50, rng) == pytest.approx(0.3)
        assert statistics.resampled_tables(np.full((5, 3, 2), 0.3), 50, rng) == pytest.approx(0.3)


class TestIntervals:
    """Their form; how often they hold the truth is simulate_coverage.py's business."""

    def test_over_concepts_is_wider_than_percentiles_of_few(self, rng):
        """With 4 concepts a plain bootstrap is too sure of itself."""
        means = np.array([0.01, 0.03, 0.02, 0.06])
        inside = [mean + 1e-4 * rng.normal(size=2000) for mean in means]
        low, high = statistics.interval_over_concepts(means, inside, rng)
        drawn = rng.choice(means, size=(2000, 4)).mean(axis=1)
        assert low < np.quantile(drawn, 0.025) < means.mean() < np.quantile(drawn, 0.975) < high

    @pytest.mark.parametrize(("concepts", "quantile"), [(2, 12.706), (3, 4.303)])
    def test_two_or_three_concepts_take_students_t(self, rng, concepts, quantile):
        """A bootstrap of three has hardly any different resamples."""
        means = np.arange(concepts, dtype=float)
        low, high = statistics.interval_over_concepts(means, [np.full(100, mean) for mean in means], rng)
        assert (high - low) / 2 == pytest.approx(quantile * means.std(ddof=1) / concepts**0.5, rel=1e-3)

    def test_identical_runs_differ_by_nothing(self, rng):
        """No spread at all is an interval of no width, not a division by zero."""
        zeros = [np.zeros(100)] * 5
        assert statistics.interval_over_concepts(np.zeros(5), zeros, rng) == (0.0, 0.0)
        assert statistics.interval_inside_concept(np.zeros((5, 4, 3)), 100, rng) == (0.0, 0.0)

    def test_many_prompts_approach_the_normal_interval(self, rng):
        """One concept, one picture a prompt, no photos: the textbook's 1.96 standard errors."""
        table = rng.normal(size=(400, 1, 1))
        interval = statistics.interval_inside_concept(table, 4000, rng)
        assert interval is not None
        half = 1.96 * table.std(ddof=1) / 20
        assert interval == pytest.approx((table.mean() - half, table.mean() + half), abs=0.12 * half)

    def test_photos_are_resampled_too(self, rng):
        """Photos that judge differently widen the interval of a concept."""
        same = np.broadcast_to(rng.normal(size=(25, 4, 1)), (25, 4, 5))
        unlike = same + np.array([-0.5, 0.5, 0.0, 0.4, -0.4])
        narrow, wide = (statistics.interval_inside_concept(table, 2000, rng) for table in (same, unlike))
        assert narrow is not None
        assert wide is not None
        assert wide[1] - wide[0] > 1.5 * (narrow[1] - narrow[0])

    def test_photos_are_part_of_the_standard_error(self):
        """Three prompts take Student's t times the standard errors of rows and columns together, exactly."""
        table = np.random.default_rng(3).normal(size=(3, 2, 4))
        means = table.mean(axis=1)
        rows = means.mean(axis=1).std(ddof=1) / 3**0.5
        columns = means.mean(axis=0).std(ddof=1) / 4**0.5
        interval = statistics.interval_inside_concept(table, 100, np.random.default_rng(0))
        assert interval is not None
        half = 4.302653 * (rows**2 + columns**2) ** 0.5
        assert interval == pytest.approx((table.mean() - half, table.mean() + half), rel=1e-6)

    def test_photos_are_part_of_every_resamples_standard_error(self):
        """Where only the photos differ, the interval is the bootstrap-t of their means, here written out."""
        photos = np.array([0.1, -0.2, 0.9, 0.0, -0.3, 0.2])  # so uneven that Student's t (2.78) would be seen
        table = np.broadcast_to(photos, (5, 4, 6))
        interval = statistics.interval_inside_concept(table, 20_000, np.random.default_rng(1))
        assert interval is not None
        drawn = np.random.default_rng(2).choice(photos, size=(20_000, 6))
        errors = drawn.std(axis=1, ddof=1) / 6**0.5
        quantile = np.quantile(
            np.abs(drawn.mean(axis=1) - photos.mean())[errors > 0] / errors[errors > 0], 0.95
        )
        assert quantile > 3.2
        half = quantile * photos.std(ddof=1) / 6**0.5
        assert interval == pytest.approx((photos.mean() - half, photos.mean() + half), abs=0.03 * half)

    def test_one_prompt_resamples_its_images(self, rng):
        """Images are what is left to repeat; a single picture has no interval."""
        interval = statistics.interval_inside_concept(rng.normal(size=(1, 8, 1)), 500, rng)
        assert interval is not None
        assert interval[1] > interval[0]
        assert statistics.interval_inside_concept(np.ones((1, 1, 3)), 500, rng) is None

    def test_jackknife_of_a_mean_is_its_standard_error(self, rng):
        """For a mean the delete-one error is exactly s / sqrt(n)."""
        values = rng.normal(size=25)
        without = (values.sum() - values) / 24
        assert statistics.jackknife_error(without) == pytest.approx(values.std(ddof=1) / 5)
        low, high = statistics.jackknife_interval(values.mean(), without)
        assert (high - low) / 2 == pytest.approx(2.0639 * values.std(ddof=1) / 5, rel=1e-4)


class TestSignFlip:
    """The test over concepts."""

    def test_equals_enumeration_by_hand(self, rng):
        """Three concepts, eight patterns."""
        differences = [0.3, -0.1, 0.2]
        sums = [
            abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
            for signs in itertools.product((1, -1), repeat=3)
        ]
        expected = sum(value >= 0.4 - 1e-12 for value in sums) / 8
        assert statistics.sign_flip_p(differences, rng) == pytest.approx(expected)

    @pytest.mark.parametrize("concepts", [1, 2, 5, 8, 14])
    def test_all_of_one_sign_is_the_smallest_p(self, rng, concepts):
        """2 of 2^C patterns, with one concept p is 1; `least_p` says so beforehand."""
        p = statistics.sign_flip_p([0.1] * concepts, rng)
        assert p == 2 / 2**concepts == statistics.least_p(concepts)

    def test_random_patterns_for_many(self, rng):
        """Past 14 concepts the p of random patterns is never 0 and near the normal one."""
        assert statistics.sign_flip_p([0.1] * 40, rng) == statistics.least_p(40) > 0
        differences = np.random.default_rng(5).normal(0.3, 1, size=40)
        z = differences.sum() / np.sqrt(np.square(differences).sum())
        from scipy import stats

        assert statistics.sign_flip_p(differences, rng) == pytest.approx(2 * stats.norm.sf(abs(z)), abs=0.02)

    def test_scale_and_sign_do_not_matter(self, rng):
        """Two-sided, and in no unit."""
        differences = np.array([0.3, -0.1, 0.2, 0.5, 0.05])
        p = statistics.sign_flip_p(differences, rng)
        assert (
            p == statistics.sign_flip_p(-differences, rng) == statistics.sign_flip_p(differences / 3e5, rng)
        )


def test_holm_known_answer():
    """Steps down, never falls, never passes 1, keeps the order given."""
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert statistics.holm([]) == []


def test_win_rate_counts_ties_half():
    """Equal runs win half of the time."""
    assert statistics.win_rate([1.0, -1.0, 2.0, 0.0]) == pytest.approx(0.625)
    assert statistics.win_rate(np.zeros(9)) == 0.5
