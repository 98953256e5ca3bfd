"""Scores against photos that were held out, and against those that were learned, are kept apart."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from rich.console import Console

from coeffdream.data.images import load_image
from coeffdream.metrics import features as maths
from coeffdream.metrics.evaluate import evaluate_run
from coeffdream.metrics.scores_table import scores_table
from coeffdream.records.scores import read_scores
from coeffdream.report.readings import readings, table


def printed(record) -> str:
    console = Console(width=80)
    with console.capture() as captured:
        console.print(scores_table(record))
    return captured.get()


@pytest.fixture
def scored(make, tiny_encoders, cache):
    """The same pictures of a run whose photos were all learned, and of one that held out the middle one."""
    run = make.run()
    make.set(run, adapter={"coeff": "ab"})
    make.set(run, "live-base", untouched=True)
    plain = evaluate_run(run, set_name="live", encoders=tiny_encoders, cache=cache)
    record = run.read()
    images = [
        dataclasses.replace(photo, held_out=index == 1) for index, photo in enumerate(record.concept.images)
    ]
    run.write(dataclasses.replace(record, concept=dataclasses.replace(record.concept, images=images)))
    return run, plain, evaluate_run(run, set_name="live", encoders=tiny_encoders, cache=cache)


def test_each_side_is_of_its_own_photos(scored):
    """Against columns of the run whose photos were all learned: held out the second, learned the others."""
    run, plain, apart = scored
    clip = np.array([image.concept_by_reference for image in plain.per_image])
    dino = np.array([image.dino_by_reference for image in plain.per_image])
    assert [(photo.file, photo.held_out) for photo in apart.references] == [("01.png", True)]
    assert [photo.file for photo in apart.learned.references] == ["00.png", "02.png"]
    assert apart.overall.concept_alignment == pytest.approx(clip[:, 1].mean(), abs=1e-9)
    assert apart.overall.dino_alignment == pytest.approx(dino[:, 1].mean(), abs=1e-9)
    assert apart.learned.overall.concept_alignment == pytest.approx(clip[:, [0, 2]].mean(), abs=1e-9)
    assert apart.learned.overall.nearest_max == pytest.approx(dino[:, [0, 2]].max(), abs=1e-9)
    assert apart.floor.concept_alignment != apart.learned.floor.concept_alignment
    assert apart.overall.diversity == plain.overall.diversity
    assert read_scores(run.images / "live" / "scores.json") == apart


def test_the_ceiling_is_learned_photos_against_held_out_ones(scored, tiny_encoders, make):
    """With a single held-out photo there is one, too."""
    _, _, apart = scored
    photos = [load_image(make.root / "photos" / f"{index:02d}.png") for index in range(3)]
    for encoder, name in ((tiny_encoders.clip, "concept_alignment"), (tiny_encoders.dino, "dino_alignment")):
        square = maths.similarities(encoder.images(photos), encoder.images(photos))
        assert getattr(apart.ceiling, name) == pytest.approx(square[[0, 2], 1].mean(), abs=1e-6)
        assert getattr(apart.learned.ceiling, name) == pytest.approx(square[0, 2], abs=1e-6)


def test_which_photos_is_said(scored):
    """In the table and on the page: held out, or that likeness to training photos is overestimated."""
    _, plain, apart = scored
    assert plain.overestimates
    assert "overestimates it (arXiv 2503.06632)" in " ".join(printed(plain).split())
    assert any("overestimates it (arXiv 2503.06632)" in line for line in readings(plain))
    said = printed(apart)
    assert "1 photo held out of training, beneath it to the 2 learned" in " ".join(said.split())
    assert said.count("learned photos") == 3  # concept, DINO and subject alignment
    assert f"{apart.learned.overall.nearest_mean:.3f}" in said
    assert not any("overestimates" in line for line in readings(apart))
    rows = dict(table(apart, {})[1])
    assert rows["Concept alignment, learned photos"][0] == f"{apart.learned.overall.concept_alignment:.3f}"
    assert rows["Concept alignment"][0] == f"{apart.overall.concept_alignment:.3f}"
    assert rows["Nearest photo, maximum"][0] == f"{apart.learned.overall.nearest_max:.3f}"


def test_what_the_untouched_base_draws_is_not_overestimated(scored, tiny_encoders, cache):
    """It learned from no photo."""
    run, *_ = scored
    assert not evaluate_run(run, set_name="live-base", encoders=tiny_encoders, cache=cache).overestimates
