"""What stands beside a run's scores: floor and ceiling, whose they are, and every warning."""

from __future__ import annotations

import pytest
import torch

from coeffdream.metrics.encoders import Encoders
from coeffdream.metrics.evaluate import evaluate_run
from coeffdream.metrics.feature_cache import FeatureCache
from coeffdream.metrics.options import ScoringOptions
from coeffdream.records.scores import EMBEDDED_LABEL, read_scores

RED, GREEN = (255, 0, 0), (0, 255, 0)
TWO = ["a <V> CLASS in the snow", "a <V> CLASS on the beach"]


def test_the_record_reads_back_as_it_was_written(scored):
    """compare and report work from the file alone."""
    run, record = scored
    assert read_scores(run.scores) == record
    assert read_scores(run.images / "live" / "scores.json") == record


def test_features_that_could_not_be_cached_are_said(make, tiny_encoders, tmp_path):
    """The scores are right, but the next eval will encode all again."""
    (tmp_path / "file").write_text("in the way")
    run = make.run()
    make.set(run)
    record = evaluate_run(run, encoders=tiny_encoders, cache=FeatureCache(tmp_path / "file" / "features"))
    assert any("features are not cached" in warning for warning in record.warnings)


def test_a_run_without_a_concept_says_so(make, tiny_encoders, cache):
    """Pictures of the untouched base alone: text and diversity are scored, the rest is absent and said."""
    run = make.run(photos=0)
    make.set(run, untouched=True)
    record = evaluate_run(run, encoders=tiny_encoders, cache=cache)
    overall = record.overall
    assert (overall.concept_alignment, overall.dino_alignment, overall.nearest_p95, record.ceiling) == (
        None,
    ) * 4
    assert overall.text_alignment is not None
    assert record.warnings == ["this run learned no concept: scores against photos are absent"]
    assert read_scores(run.scores) == record


@pytest.mark.parametrize(("photos", "n"), [(1, None), (2, 2)])
def test_two_photos_are_the_least_that_make_a_ceiling(make, tiny_encoders, cache, photos, n):
    """A single photo cannot be compared with the others, but pictures can be compared with it."""
    run = make.run(photos=photos)
    make.set(run)
    record = evaluate_run(run, encoders=tiny_encoders, cache=cache)
    assert (record.ceiling and record.ceiling.n) == n
    assert record.overall.concept_alignment is not None


def test_the_untouched_base_is_the_floor(make, tiny_encoders, cache):
    """A second set by the untouched base on the same prompts and seeds is scored beside it."""
    run = make.run()
    make.set(run)
    make.set(run, "base", untouched=True, created="2026-01-03T00:00:00+00:00")
    record = evaluate_run(run, encoders=tiny_encoders, cache=cache)
    assert (record.set.name, record.floor_set, record.floor.n) == ("live", "base", 6)
    alone = evaluate_run(run, set_name="base", encoders=tiny_encoders, cache=cache)
    assert alone.overall == record.floor
    assert alone.floor is None
    assert read_scores(run.images / "base" / "scores.json") == alone
    assert read_scores(run.scores) == record  # the floor set's scores did not take its place


@pytest.mark.parametrize(
    ("difference", "says"),
    [
        ({"settings": {"steps": 4}}, "its steps differ"),
        ({"first_seed": 100}, "its seeds differ"),
    ],
)
def test_an_unequal_set_is_no_floor(make, tiny_encoders, cache, difference, says):
    """A floor drawn otherwise would be compared unfairly; that it was left out is said."""
    run = make.run()
    make.set(run)
    make.set(run, "base", untouched=True, **difference)
    record = evaluate_run(run, encoders=tiny_encoders, cache=cache)
    assert record.floor is None
    assert any(says in warning for warning in record.warnings)


def test_an_unfinished_floor_does_not_stop_the_eval(make, tiny_encoders, cache):
    """The run's own scores do not wait for the untouched base's pictures."""
    run = make.run()
    make.set(run)
    floor = make.set(run, "base", untouched=True)
    floor.keep_images({image.index: offset for offset, image in floor.rows() if image.index < 3})
    record = evaluate_run(run, encoders=tiny_encoders, cache=cache)
    assert record.floor is None
    assert "holds 3 of 6 images" in record.warnings[0]


def test_hand_given_prompts_do_not_replace_the_benchmark(make, tiny_encoders, cache):
    """runs/NAME/scores.json stays the benchmark's, whatever else is scored later."""
    run = make.run()
    make.set(run)
    make.set(run, "given", kind="prompts", templates=TWO, created="2026-02-01T00:00:00+00:00")
    benchmark = evaluate_run(run, encoders=tiny_encoders, cache=cache)
    assert benchmark.set.name == "live"
    evaluate_run(run, set_name="given", encoders=tiny_encoders, cache=cache)
    assert read_scores(run.scores) == benchmark
    assert read_scores(run.images / "given" / "scores.json").overall.n == 4


@pytest.mark.parametrize(
    ("mode", "text"),
    [("class", "a cat in the snow"), ("token", "a sks cat in the snow"), ("stripped", "in the snow")],
)
def test_the_scoring_text_is_chosen_and_recorded(make, tiny_encoders, cache, mode, text):
    """What the pictures were held against is in the record."""
    run = make.run()
    make.set(run)
    record = evaluate_run(run, options=ScoringOptions(score_text=mode), encoders=tiny_encoders, cache=cache)
    assert (record.score_text, record.per_prompt[0].text) == (mode, text)


def test_a_text_past_the_context_is_reported(make, tiny_encoders, cache):
    """CLIP's tokenizer cuts at 77 without a word; the record says it."""
    run = make.run()
    make.set(run, templates=["a <V> CLASS " + "in the snow " * 40, "a <V> CLASS"])
    (warning,) = evaluate_run(run, encoders=tiny_encoders, cache=cache).warnings
    assert "has 124 tokens and CLIP local-dir" in warning
    assert "reads 77" in warning


def test_progress_is_heard(make, tiny_encoders, cache):
    """A bar needs how far it is, of how much, and what is going on."""
    run = make.run()
    make.set(run)
    heard = []
    evaluate_run(
        run,
        options=ScoringOptions(batch_size=4),
        encoders=tiny_encoders,
        cache=cache,
        on_progress=lambda *what: heard.append(what),
    )
    pictures = [(done, total) for stage, done, total, _ in heard if stage == "DINOv2: pictures"]
    assert pictures == [(0, 6), (4, 6), (6, 6)]
    heard.clear()
    evaluate_run(
        run,
        encoders=tiny_encoders,
        cache=cache,
        on_progress=lambda *what: heard.append(what),
    )
    assert heard == []  # all of it was in the cache, so there is nothing to wait for


def test_photos_are_heard_as_photos(make, tiny_encoders, cache):
    """Where diversity alone is asked for, it is the one that has the photos encoded: the bar says so."""
    run = make.run()
    make.set(run)
    heard = []
    evaluate_run(
        run,
        options=ScoringOptions(scores="diversity"),
        encoders=tiny_encoders,
        cache=cache,
        on_progress=lambda stage, done, total, _: heard.append((stage, total)),
    )
    assert list(dict.fromkeys(heard)) == [("DINOv2: pictures", 6), ("DINOv2: photos", 3)]


def test_the_record_says_of_what_it_is(make, tiny_encoders, cache):
    """Whose pictures, how they were drawn, when: what reports and comparisons quote."""
    run = make.run()
    folder = make.set(run)
    record = evaluate_run(run, encoders=tiny_encoders, cache=cache)
    of_run, of_set = run.read(), folder.read_set()
    assert record.source.kind == "run"
    for name in ("name", "method", "base", "class_noun", "parameters"):
        assert getattr(record.source, name) == getattr(of_run, name)
    assert (record.source.seed, record.source.concept) == (of_run.config.seed, of_run.concept.name)
    for name in ("name", "kind", "created", "prompts", "class_noun", "images_per_prompt", "settings"):
        assert getattr(record.set, name) == getattr(of_set, name)
    assert record.set.adapter is True
    assert record.set.n == 6
    assert record.created >= of_set.created
    assert [photo.file for photo in record.references] == ["00.png", "01.png", "02.png"]
    assert [image.index for image in record.per_image] == list(range(6))
    for image, row in zip(record.per_image, folder.read_images(), strict=True):
        for name in ("prompt_index", "image_index", "seed", "file", "sha256"):
            assert getattr(image, name) == getattr(row, name)


def test_embedded_scores_carry_their_label(make, stubs, cache):
    """Scores by the toybox's own encoders are marked wherever they are shown."""
    run = make.run(photos=0)
    make.set(run, templates=TWO[:1], colours=[RED, GREEN])
    embedded = evaluate_run(run, encoders=Encoders(stubs.clip, stubs.dino, embedded=True), cache=cache)
    assert (embedded.embedded, embedded.label) == (True, EMBEDDED_LABEL)
    assert evaluate_run(run, encoders=stubs, cache=cache).label is None


def test_the_record_carries_what_a_comparison_checks(scored):
    """compare refuses unequal encoders, preprocessing, prompts, seeds, counts, bases: all must be there."""
    run, record = scored
    clip, dino = record.encoders.clip, record.encoders.dino
    for encoder in (clip, dino):
        assert len(encoder.weights_sha256) == 64
        assert encoder.preprocessing["mean"]
        assert encoder.versions["torch"] == torch.__version__.split("+")[0] or encoder.versions["torch"]
    assert clip.preprocessing["mean"] != dino.preprocessing["mean"]
    for name in ("prompts", "texts", "seeds", "settings"):
        assert len(getattr(record.set, f"{name}_sha256")) == 64
    assert record.source.base == run.read().base
    assert len(record.per_image[0].concept_by_reference) == len(record.references) == 3
    assert record.versions["vendi-score"]
