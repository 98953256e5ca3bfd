"""Drift on unrelated prompts: known vectors, the right pairs, and absent values where a set is absent."""

from __future__ import annotations

import dataclasses
import json

import pytest

from coeffdream.errors import ScoreError
from coeffdream.metrics import features as maths
from coeffdream.metrics.encoders import Encoders
from coeffdream.metrics.evaluate import evaluate_run
from coeffdream.metrics.scores_table import scores_table
from coeffdream.records.fields import record_to_json
from coeffdream.records.files import write_json
from coeffdream.records.images import SetFolder
from coeffdream.records.scores import read_scores

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
DOG, CAR = "a dog in the snow", "a car at night"
LATER = "2026-02-02T00:00:00+00:00"


@pytest.fixture
def stubs(stub_encoder, cache):
    """To DINO the colours are orthogonal; to CLIP green is halfway from red to blue. Dogs are red, cars blue."""
    texts = {DOG: [1, 0], CAR: [0, 1], "a cat": [1, 0]}
    clip = stub_encoder({RED: [1, 0], GREEN: [1, 1], BLUE: [0, 1]}, texts)
    dino = stub_encoder({RED: [1, 0, 0], GREEN: [0, 2, 0], BLUE: [0, 0, 3]})
    return {"encoders": Encoders(clip, dino, embedded=False), "cache": cache}


@pytest.fixture
def drifted(make):
    """A run with a benchmark and the two unrelated sets, in the colours given; `changes` are the base's set's."""

    def made(adapter=(RED, BLUE), base=(RED, BLUE), own=None, **changes):
        run = make.run(photos=0)
        make.set(run, templates=["a <V> CLASS"], per_prompt=1, colours=[RED])
        both = {"templates": [DOG, CAR], "per_prompt": 1, "kind": "unrelated", "created": LATER}
        make.set(run, "unrelated", colours=adapter, **both, **(own or {}))
        if base:
            make.set(run, "unrelated-base", colours=base, untouched=True, **both, **changes)
        return run

    return made


def test_equal_pictures_have_not_drifted(drifted, stubs):
    """The same pictures with the adapter and without: 0, and the text alignment of both is the same."""
    drift = evaluate_run(drifted(), **stubs).drift
    assert (drift.dino, drift.clip, drift.text_change) == (0, pytest.approx(0, abs=1e-12), 0)
    assert (drift.n, drift.set, drift.base_set) == (2, "unrelated", "unrelated-base")
    assert drift.text_alignment == pytest.approx(1)


def test_known_vectors(drifted, stubs):
    """One picture of two turned orthogonal to DINO, and by 45 degrees to CLIP."""
    drift = evaluate_run(drifted(adapter=(GREEN, BLUE)), **stubs).drift
    assert [image.dino for image in drift.per_image] == pytest.approx([1, 0])
    assert drift.dino == pytest.approx(0.5)
    assert drift.clip == pytest.approx((1 - 0.5**0.5) / 2)
    assert (drift.text_alignment, drift.base_text_alignment) == pytest.approx(((0.5**0.5 + 1) / 2, 1))
    assert drift.text_change == pytest.approx((0.5**0.5 - 1) / 2)


def test_swapped_pictures_are_not_pairs(drifted, stubs):
    """The same two pictures under each other's prompt are as far off as can be."""
    assert evaluate_run(drifted(adapter=(BLUE, RED)), **stubs).drift.dino == pytest.approx(1)


def test_pairs_go_by_the_manifest_not_by_its_order(drifted, stubs):
    """A shuffled manifest changes nothing."""
    run = drifted(adapter=(GREEN, BLUE))
    manifest = run.images / "unrelated" / "images.jsonl"
    manifest.write_text("".join(reversed(manifest.read_text().splitlines(keepends=True))))
    drift = evaluate_run(run, **stubs).drift
    assert [(image.seed, image.dino) for image in drift.per_image] == [(0, pytest.approx(1)), (1, 0)]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"settings": {"steps": 4}},
            "'unrelated-base' is not the counterpart of 'unrelated': its steps differ",
        ),
        ({"first_seed": 100}, "its seeds differ"),
        (
            {"own": {"settings": {"lora_scale": 0.5}}},
            "'unrelated' is no drift of these pictures: its lora_scale",
        ),
        ({"own": {"adapter": {"coeff": "cd34"}}}, "no drift of these pictures: its adapter differ"),
    ],
)
def test_what_is_no_pair_is_passed_over(drifted, stubs, changes, says):
    """Unequal sets would measure the difference of their settings; the field is named."""
    record = evaluate_run(drifted(**changes), **stubs)
    assert record.drift is None
    assert any(says in warning for warning in record.warnings), record.warnings


def test_of_two_kinds_of_devices_it_is_said(drifted, stubs):
    """What rounding alone makes of it is in it."""
    run = drifted()
    base = SetFolder(run.images / "unrelated-base")
    write_json(base.set_file, record_to_json(dataclasses.replace(base.read_set(), device="cpu")))
    record = evaluate_run(run, **stubs)
    assert record.drift is not None
    assert "'unrelated-base' was drawn on cpu and 'unrelated' on an unknown device" in record.warnings


@pytest.mark.parametrize("name", ["unrelated", "unrelated-base"])
def test_an_unfinished_half_does_not_stop_the_eval(drifted, stubs, name):
    """The run's own scores do not wait for it."""
    run = drifted()
    manifest = run.images / name / "images.jsonl"
    manifest.write_text(manifest.read_text().splitlines(keepends=True)[0])
    record = evaluate_run(run, **stubs)
    assert record.drift is None
    assert any("holds 1 of 2 images" in warning for warning in record.warnings)


def test_without_both_sets_it_is_absent(drifted, make, stubs):
    """No error, no warning, no rows in the table; and no drift of pictures that no adapter drew."""
    run = drifted(base=None)
    record = evaluate_run(run, **stubs)
    assert record.drift is None
    assert not [warning for warning in record.warnings if "drift" in warning or "unrelated" in warning]
    assert not [name for name in scores_table(record).renderables[0].columns[0].cells if "drift" in str(name)]
    make.set(run, "unrelated-base", templates=[DOG, CAR], per_prompt=1, colours=[RED, RED], untouched=True)
    make.set(run, "base", templates=["a <V> CLASS"], per_prompt=1, colours=[RED], untouched=True)
    assert evaluate_run(run, **stubs).drift is not None
    assert evaluate_run(run, set_name="base", **stubs).drift is None


def test_the_table_shows_it(drifted, stubs):
    """Beside its own n, with the text alignment of both."""
    table = scores_table(evaluate_run(drifted(adapter=(GREEN, BLUE)), **stubs)).renderables[0]
    names, values, meanings = (list(column.cells) for column in table.columns)
    at = names.index("drift (n = 2)")
    assert values[at : at + 3] == ["0.500", "0.146", "0.854"]
    assert meanings[at + 2] == "-0.146 by the adapter"


def test_the_record_keeps_it_and_old_records_are_read(drifted, stubs):
    """scores.json written before there was a drift is still good."""
    run = drifted(adapter=(GREEN, BLUE))
    record = evaluate_run(run, **stubs)
    assert read_scores(run.scores) == record
    value = json.loads(run.scores.read_text())
    del value["drift"]
    run.scores.write_text(json.dumps(value))
    assert read_scores(run.scores).drift is None


def test_a_run_with_unrelated_pictures_only_has_nothing_to_score(drifted, stubs):
    """They hold no concept, so they must not become the run's scores."""
    run = drifted()
    (run.images / "live" / "set.json").unlink()
    with pytest.raises(
        ScoreError, match="only of unrelated prompts; draw the benchmark with: coeffdream generate"
    ):
        evaluate_run(run, **stubs)
    assert not run.scores.exists()
    assert evaluate_run(run, set_name="unrelated", **stubs).overall.n == 2


def test_altered_pictures_are_refused(drifted, stubs, draw):
    """As for every set: what is scored is what was drawn."""
    run = drifted()
    draw((1, 2, 3), seed=9).save(run.images / "unrelated-base" / "01-0.png")
    with pytest.raises(ScoreError, match=r"01-0\.png was altered"):
        evaluate_run(run, **stubs)


def test_unequal_numbers_are_no_pairs():
    """Two pictures with three would pair by accident."""
    with pytest.raises(ScoreError, match="do not pair"):
        maths.drift([[1.0, 0.0]] * 2, [[1.0, 0.0]] * 3)
