"""The DINO scorer's figures on features whose figures are known."""

from __future__ import annotations

import pytest
import torch

from coeffdream.toybox.world.concepts import CONCEPTS
from coeffdream.workshop.build.dino_figures import above, coverage, patch_figure, photo_figures


def test_photos_all_alike_and_all_apart():
    """Concepts that are one point each: cosine 1 and Vendi 1. Photos at right angles: cosine 0 and Vendi 5."""
    alike = torch.eye(10)[:2, None].expand(2, 5, 10)
    figures = photo_figures(alike, ["cat", "dog"])
    assert figures["cosine within a concept"] == pytest.approx(1)
    assert figures["between two"] == pytest.approx(0)
    assert figures["pairs of one above pairs of two (AUC)"] == 1
    assert figures["Vendi of 5 photos"] == pytest.approx(1)
    assert figures["nearest other photo: same concept"] == figures["same subject"] == 1
    apart = photo_figures(torch.eye(10).unflatten(0, (2, 5)), ["cat", "dog"])
    assert apart["cosine within a concept"] == pytest.approx(0)
    assert apart["pairs of one above pairs of two (AUC)"] == 0.5
    assert apart["Vendi of 5 photos"] == pytest.approx(5)


def test_subject_and_concept_are_two_things():
    """Photos nearest to another concept's of the same subject count for the subject only."""
    exchanged = torch.eye(5)[None].expand(2, 5, 5)
    figures = photo_figures(exchanged, ["cat", "cat"])
    assert figures["nearest other photo: same concept"] == 0
    assert figures["same subject"] == 1


def test_above_counts_pairs():
    """Three of four pairs are in order; a tie is half of one."""
    assert above(torch.tensor([1.0, 3.0]), torch.tensor([0.0, 2.0])) == 0.75
    assert above(torch.tensor([1.0]), torch.tensor([1.0])) == 0.5


def test_patches_find_the_subject_or_the_background():
    """Two photos of two subject patches and two of background: codes by what is shown give 1, exchanged ones 0, and a
    patch that is half of each is asked nothing."""
    covered = torch.tensor([[[1.0, 1.0, 0.0, 0.0, 0.5], [1.0, 1.0, 0.0, 0.0, 0.5]]])
    subject, ground = torch.eye(2)
    true = torch.stack([subject, subject, ground, ground, subject])
    false = torch.stack([ground, ground, subject, subject, subject])
    assert patch_figure(torch.stack([true, true])[None], covered) == 1
    assert patch_figure(torch.stack([true, false])[None], covered) == 0


def test_coverage_is_of_the_middle():
    """The subject covers patches in the middle of each shipped photo and leaves the upper corners free."""
    for concept in CONCEPTS:
        shares = coverage(concept.scenes()[0]).reshape(8, 8)
        assert shares[4:6, 3:5].mean() > 0.7
        assert shares[0, [0, -1]].max() < 0.1
