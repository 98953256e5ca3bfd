"""Concepts to choose settings on, which no study of the shipped ones has seen."""

from __future__ import annotations

import sys

from coeffdream.data.concept import load_concept
from coeffdream.toybox.world.concepts import CONCEPTS, other_concepts
from coeffdream.workshop.concepts import main


def test_folders_that_train_takes(tmp_path, monkeypatch):
    """Photos, masks and the class, as the shipped folders have them."""
    monkeypatch.setattr(sys, "argv", ["concepts", str(tmp_path), "cat", "clock", "--seed", "3"])
    main()
    cat, clock = (load_concept(tmp_path / f"other-{subject}") for subject in ("cat", "clock"))
    assert (cat.class_noun, clock.class_noun) == ("cat", "clock")
    assert len(cat.images) == 5
    cat.check_masks()


def test_none_is_shipped():
    """Settings that were chosen on a concept of the study would flatter the method that they were chosen for."""
    shipped = {concept.individual for concept in CONCEPTS}
    subjects = [concept.individual.subject for concept in CONCEPTS]
    others = {concept.individual for concept in other_concepts(subjects)}
    assert not shipped & others
    assert others != {concept.individual for concept in other_concepts(subjects, seed=1)}
