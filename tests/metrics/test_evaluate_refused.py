"""What of a run cannot be scored as it stands is refused in a line that says what is wrong and what to do."""

from __future__ import annotations

import shutil

import pytest

from coeffdream.errors import RunError, ScoreError
from coeffdream.metrics.encoders import Encoders
from coeffdream.metrics.evaluate import evaluate_run
from coeffdream.records.scores import read_scores

RED, GREEN = (255, 0, 0), (0, 255, 0)
SNOW = "a cat in the snow"


def test_an_incomplete_set_is_refused(scored, tiny_encoders, cache):
    """A mean over the pictures that happen to be there is not the set's score."""
    run, _ = scored
    manifest = run.images / "live" / "images.jsonl"
    manifest.write_text("".join(manifest.read_text().splitlines(keepends=True)[:4]))
    with pytest.raises(ScoreError, match="holds 4 of 6 images; finish it with: coeffdream generate"):
        evaluate_run(run, encoders=tiny_encoders, cache=cache)


def test_missing_files_are_refused_together(scored, tiny_encoders, cache):
    """Every missing picture is named at once, and old scores stay as they were."""
    run, record = scored
    for name in ("00-1.png", "02-0.png"):
        (run.images / "live" / name).unlink()
    with pytest.raises(ScoreError, match=r"2 problems\n.*00-1\.png is missing.*\n.*02-0\.png is missing"):
        evaluate_run(run, encoders=tiny_encoders, cache=cache)
    assert read_scores(run.scores) == record


def test_an_altered_picture_is_refused(scored, tiny_encoders, cache, draw):
    """What is scored is what was generated."""
    run, _ = scored
    draw((1, 2, 3), seed=9).save(run.images / "live" / "01-0.png")
    with pytest.raises(ScoreError, match=r"01-0\.png was altered"):
        evaluate_run(run, encoders=tiny_encoders, cache=cache)


def test_a_manifest_with_a_row_twice_is_refused(scored, tiny_encoders, cache):
    """Six rows of which two are the same picture are not six pictures."""
    run, _ = scored
    manifest = run.images / "live" / "images.jsonl"
    lines = manifest.read_text().splitlines(keepends=True)
    manifest.write_text("".join([*lines[:5], lines[0]]))
    with pytest.raises(ScoreError, match="are not the 6 of"):
        evaluate_run(run, encoders=tiny_encoders, cache=cache)


def test_a_manifest_may_not_point_outside(scored, tiny_encoders, cache):
    """A record that came from elsewhere must not make the tool read other files."""
    run, _ = scored
    manifest = run.images / "live" / "images.jsonl"
    manifest.write_text(manifest.read_text().replace('"00-0.png"', '"../../../photos/00.png"'))
    with pytest.raises(RunError, match=r"images\.jsonl: \[0\]: file '../../../photos/00\.png' is no plain"):
        evaluate_run(run, encoders=tiny_encoders, cache=cache)


def test_moved_photos_are_named_and_can_be_pointed_at(scored, tiny_encoders, cache, tmp_path, same):
    """The concept's folder was moved: say which, and take --references in its place."""
    run, record = scored
    shutil.move(tmp_path / "photos", tmp_path / "elsewhere")
    with pytest.raises(ScoreError, match=r"no longer in .*photos; .*--references FOLDER"):
        evaluate_run(run, encoders=tiny_encoders, cache=cache)
    found = evaluate_run(run, references=tmp_path / "elsewhere", encoders=tiny_encoders, cache=cache)
    assert same(found, record)


def test_other_photos_are_refused(scored, tiny_encoders, cache, tmp_path, draw):
    """Concept alignment is against the photos that were learned from, not against what lies there now."""
    run, _ = scored
    draw((9, 9, 9), seed=5).save(tmp_path / "photos" / "01.png")
    (tmp_path / "photos" / "02.png").unlink()
    with pytest.raises(
        ScoreError, match=r"01\.png is not the photo that the run was given(.|\n)*02\.png is missing"
    ):
        evaluate_run(run, encoders=tiny_encoders, cache=cache)


def test_no_set_and_unknown_sets_are_refused(make, tiny_encoders, cache):
    """What is there is named, and what makes it."""
    run = make.run()
    with pytest.raises(RunError, match="coeffdream generate"):
        evaluate_run(run, encoders=tiny_encoders, cache=cache)
    make.set(run)
    with pytest.raises(RunError, match="there: live"):
        evaluate_run(run, set_name="lively", encoders=tiny_encoders, cache=cache)


def test_useless_features_name_the_pictures(make, stub_encoder, cache):
    """A zero feature is traced to its file instead of ending in a score that is not a number."""
    clip = stub_encoder({RED: [1, 0], GREEN: [0, 0]}, {SNOW: [1, 0]})
    run = make.run(photos=0)
    make.set(run, templates=["a <V> CLASS in the snow"], colours=[RED, GREEN])
    with pytest.raises(ScoreError, match=r"for 1 of 2 pictures \(00-1\.png\)"):
        evaluate_run(run, encoders=Encoders(clip, clip, False), cache=cache)
