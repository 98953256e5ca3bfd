"""Scoring a run: right numbers, from the manifest, or a refusal that says what is wrong."""

from __future__ import annotations

import json
import random
import shutil

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from transformers import Dinov2Model

from coeffdream.errors import RunError, ScoreError
from coeffdream.metrics.encoders import Encoders
from coeffdream.metrics.evaluate import evaluate_run
from coeffdream.metrics.feature_cache import FeatureCache
from coeffdream.metrics.options import ScoringOptions
from coeffdream.records.scores import EMBEDDED_LABEL, read_scores

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
SNOW, BEACH = "a cat in the snow", "a cat on the beach"
TWO = ["a <V> CLASS in the snow", "a <V> CLASS on the beach"]


def same(one, other) -> bool:
    """Equal but for the moment at which they were made."""
    return vars(one) | {"created": ""} == vars(other) | {"created": ""}


def cosine(images: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(images, dim=-1) @ torch.nn.functional.normalize(others, dim=-1).T


@pytest.fixture
def scored(make, tiny_encoders, cache):
    """A run with a set of 3 prompts x 2 pictures, 3 photos, and its scores."""
    run = make.run()
    make.set(run)
    return run, evaluate_run(run, encoders=tiny_encoders, cache=cache)


def test_scores_equal_an_independent_computation(scored, tiny_clip, tiny_dino):
    """The whole path against a few lines of open_clip, transformers and torch on the same files."""
    run, record = scored
    folder = run.images / "live"
    rows = [json.loads(line) for line in (folder / "images.jsonl").read_text().splitlines()]
    pictures = [Image.open(folder / row["file"]) for row in rows]
    photos = [Image.open(run.path.parents[1] / "photos" / f"{index:02d}.png") for index in range(3)]
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{tiny_clip}")
    model.eval()
    dino = Dinov2Model.from_pretrained(tiny_dino).eval()
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])

    def look(image):
        square = np.asarray(image.resize((32, 32), Image.Resampling.BICUBIC).crop((2, 2, 30, 30)))
        return ((torch.from_numpy(square / 255).float() - mean) / std).permute(2, 0, 1)

    with torch.no_grad():
        texts = model.encode_text(open_clip.tokenize([row["prompt"].replace("<V> ", "") for row in rows]))
        clip_pictures, clip_photos = (
            model.encode_image(torch.stack([preprocess(image) for image in images]))
            for images in (pictures, photos)
        )
        dino_pictures, dino_photos = (
            dino(torch.stack([look(image) for image in images])).pooler_output
            for images in (pictures, photos)
        )
    text = cosine(clip_pictures, texts).diagonal()
    concept = cosine(clip_pictures, clip_photos)
    looks = cosine(dino_pictures, dino_photos)
    eigenvalues = torch.linalg.eigvalsh(cosine(dino_pictures, dino_pictures).double() / len(rows)).clamp_min(
        1e-12
    )
    overall = record.overall
    assert overall.text_alignment == pytest.approx(float(text.mean()), abs=1e-5)
    assert overall.concept_alignment == pytest.approx(float(concept.mean()), abs=1e-5)
    assert overall.dino_alignment == pytest.approx(float(looks.mean()), abs=1e-5)
    assert overall.nearest_max == pytest.approx(float(looks.max()), abs=1e-5)
    assert overall.nearest_mean == pytest.approx(float(looks.amax(1).mean()), abs=1e-5)
    assert overall.diversity == pytest.approx(float((-eigenvalues * eigenvalues.log()).sum().exp()), abs=1e-5)
    np.testing.assert_allclose([image.text_alignment for image in record.per_image], text, atol=1e-5)
    np.testing.assert_allclose([image.concept_by_reference for image in record.per_image], concept, atol=1e-5)
    np.testing.assert_allclose([image.dino_by_reference for image in record.per_image], looks, atol=1e-5)
    ceiling = cosine(clip_photos, clip_photos)[~torch.eye(3, dtype=torch.bool)].mean()
    assert record.ceiling.concept_alignment == pytest.approx(float(ceiling), abs=1e-5)
    assert (overall.n, record.ceiling.n, overall.references) == (6, 3, 3)


def test_the_record_reads_back_as_it_was_written(scored):
    """compare and report work from the file alone."""
    run, record = scored
    assert read_scores(run.scores) == record
    assert read_scores(run.images / "live" / "scores.json") == record


def test_means_of_images_prompts_and_set_agree(scored):
    """With equally many pictures a prompt, the set's score is the mean of either."""
    _, record = scored
    for field in ("text_alignment", "concept_alignment", "dino_alignment"):
        value = getattr(record.overall, field)
        assert np.mean([getattr(image, field) for image in record.per_image]) == pytest.approx(
            value, abs=1e-12
        )
        assert np.mean([getattr(prompt, field) for prompt in record.per_prompt]) == pytest.approx(
            value, abs=1e-12
        )
    assert record.overall.within_prompt == pytest.approx(np.mean([p.diversity for p in record.per_prompt]))
    assert [prompt.text for prompt in record.per_prompt] == [SNOW, BEACH, "a red cat"]


@pytest.fixture
def stubs(stub_encoder):
    """Red is snow and green is beach to CLIP; DINO tells all colours apart. The photos are all-purpose."""
    clip = stub_encoder({RED: [1, 0, 0], GREEN: [0, 1, 0]}, {SNOW: [1, 0, 0], BEACH: [0, 1, 0]})
    dino = stub_encoder({RED: [1, 0, 0, 0], GREEN: [0, 1, 0, 0], BLUE: [0, 0, 1, 0]})
    return Encoders(clip, dino, embedded=False)


def test_swapped_prompts_change_text_alignment(make, stubs, tmp_path):
    """Pictures must be held against their own prompt: right pairs score 1, swapped ones 0."""
    run = make.run(photos=0)
    make.set(run, templates=TWO, colours=[RED, RED, GREEN, GREEN])
    right = evaluate_run(run, encoders=stubs, cache=FeatureCache(tmp_path / "features"))
    swapped_run = make.run("swapped", photos=0)
    make.set(swapped_run, templates=TWO, colours=[GREEN, GREEN, RED, RED])
    swapped = evaluate_run(swapped_run, encoders=stubs, cache=FeatureCache(tmp_path / "features"))
    assert right.overall.text_alignment == pytest.approx(1)
    assert swapped.overall.text_alignment == pytest.approx(0)
    assert right.overall.diversity == pytest.approx(swapped.overall.diversity) == pytest.approx(2)


def test_known_diversities(make, stubs, cache):
    """Two colours, one a prompt: 2 in the set, 1 within each prompt, and 1 without either prompt."""
    run = make.run(photos=0)
    make.set(run, templates=TWO, colours=[RED, RED, GREEN, GREEN])
    record = evaluate_run(run, encoders=stubs, cache=cache)
    assert record.overall.diversity == pytest.approx(2)
    assert record.overall.within_prompt == pytest.approx(1)
    assert [prompt.diversity_without for prompt in record.per_prompt] == pytest.approx([1, 1])


def test_nearest_is_read_at_the_95th_percentile(make, stub_encoder, cache):
    """Pictures and photos at known angles: the one that is hardly ever passed, not the 9 of 10."""
    colours = [(index, 0, 0) for index in range(10)]
    near = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    run = make.run(photos=2)
    make.set(run, templates=TWO[:1], per_prompt=10, colours=colours)
    by_colour = {
        colour: [cosine, (1 - cosine**2) ** 0.5, 0] for colour, cosine in zip(colours, near, strict=True)
    }
    photos = [
        Image.open(run.path.parents[1] / "photos" / f"{index:02d}.png").getpixel((0, 0)) for index in range(2)
    ]
    by_colour |= {photos[0]: [1, 0, 0], photos[1]: [0, 0, 1]}
    dino = stub_encoder(by_colour)
    clip = stub_encoder(by_colour, {SNOW: [1, 0, 0]})
    overall = evaluate_run(run, encoders=Encoders(clip, dino, embedded=False), cache=cache).overall
    assert overall.nearest_p95 == pytest.approx(0.955)
    assert overall.nearest_mean == pytest.approx(0.55)
    assert overall.nearest_max == pytest.approx(1)


def test_the_photos_own_nearest_is_read_at_the_95th_percentile(make, stub_encoder, cache):
    """Six pairs of photos, each pair at an angle of its own; the closest pair alone is above the 95th."""
    cosines = [0.1, 0.2, 0.3, 0.4, 0.5, 0.9]
    run = make.run(photos=12)
    make.set(run, templates=TWO[:1], colours=[RED, RED])
    rows = np.eye(12)
    for pair, cosine in enumerate(cosines):
        rows[2 * pair + 1, 2 * pair : 2 * pair + 2] = [cosine, (1 - cosine**2) ** 0.5]
    folder = run.path.parents[1] / "photos"
    colours = [Image.open(folder / f"{index:02d}.png").getpixel((0, 0)) for index in range(12)]
    table = {RED: rows[0], **dict(zip(colours, rows, strict=True))}
    encoders = Encoders(stub_encoder(table, {SNOW: rows[0]}), stub_encoder(table), embedded=False)
    ceiling = evaluate_run(run, encoders=encoders, cache=cache).ceiling
    assert ceiling.nearest_p95 == pytest.approx(0.9)
    assert ceiling.nearest_mean == pytest.approx(np.mean(cosines))
    assert ceiling.nearest_max == pytest.approx(0.9)


def test_a_shuffled_manifest_changes_nothing(scored, tiny_encoders, cache):
    """Scores depend on what the manifest says, never on the order of its lines or of the folder."""
    run, record = scored
    manifest = run.images / "live" / "images.jsonl"
    lines = manifest.read_text().splitlines()
    random.Random(1).shuffle(lines)
    manifest.write_text("\n".join(lines) + "\n")
    assert same(evaluate_run(run, encoders=tiny_encoders, cache=cache), record)


def test_files_the_manifest_does_not_list_are_not_scored(scored, tiny_encoders, cache, draw):
    """A leftover picture in the folder is not part of the set."""
    run, record = scored
    draw((1, 2, 3), seed=9).save(run.images / "live" / "00-9.png")
    assert same(evaluate_run(run, encoders=tiny_encoders, cache=cache), record)


def test_batches_of_1_and_7_agree(scored, tiny_encoders, tmp_path):
    """The batch size is a matter of memory only."""
    run, _ = scored
    alone, together = (
        evaluate_run(
            run,
            options=ScoringOptions(batch_size=size),
            encoders=tiny_encoders,
            cache=FeatureCache(tmp_path / str(size)),
        )
        for size in (1, 7)
    )
    for field, value in vars(alone.overall).items():
        assert getattr(together.overall, field) == pytest.approx(value, abs=1e-5), field


def test_batches_that_the_memory_does_not_hold(scored, tiny_encoders, tmp_path, monkeypatch):
    """They are halved, said so once for each size, and the scores are those of the size that fits."""
    run, _ = scored
    images = tiny_encoders.clip.images

    def small_batches_only(pictures):
        if len(pictures) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return images(pictures)

    expected = evaluate_run(
        run, options=ScoringOptions(batch_size=2), encoders=tiny_encoders, cache=FeatureCache(tmp_path / "a")
    )
    monkeypatch.setattr(tiny_encoders.clip, "images", small_batches_only)
    halved = evaluate_run(
        run, options=ScoringOptions(batch_size=7), encoders=tiny_encoders, cache=FeatureCache(tmp_path / "b")
    )
    assert [line for line in halved.warnings if "memory" in line] == [
        "the memory did not suffice for batches of 7; scored with --batch-size 3",
        "the memory did not suffice for batches of 3; scored with --batch-size 2",
    ]
    assert halved.overall == expected.overall


def test_a_second_eval_does_not_encode(make, stubs, cache):
    """All features come from the cache, and the numbers are the same to the last bit."""
    run = make.run(photos=0)
    make.set(run, templates=TWO, colours=[RED, RED, GREEN, BLUE])
    stubs.clip._by_colour[BLUE] = [1, 1, 0]
    first = evaluate_run(run, encoders=stubs, cache=cache)
    asked = [len(stubs.clip.asked), len(stubs.dino.asked)]
    assert min(asked) > 0  # three distinct pictures each, and CLIP two texts
    assert same(evaluate_run(run, encoders=stubs, cache=cache), first)
    assert [len(stubs.clip.asked), len(stubs.dino.asked)] == asked


def test_an_incomplete_set_is_refused(scored, tiny_encoders, cache):
    """A mean over the pictures that happen to be there is not the set's score."""
    run, _ = scored
    manifest = run.images / "live" / "images.jsonl"
    manifest.write_text("".join(manifest.read_text().splitlines(keepends=True)[:4]))
    with pytest.raises(ScoreError, match="holds 4 of 6 images; finish it with: coeffdream generate"):
        evaluate_run(run, encoders=tiny_encoders, cache=cache)


def test_features_that_could_not_be_cached_are_said(make, tiny_encoders, tmp_path):
    """The scores are right, but the next eval will encode all again."""
    (tmp_path / "file").write_text("in the way")
    run = make.run()
    make.set(run)
    record = evaluate_run(run, encoders=tiny_encoders, cache=FeatureCache(tmp_path / "file" / "features"))
    assert any("features are not cached" in warning for warning in record.warnings)


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


def test_moved_photos_are_named_and_can_be_pointed_at(scored, tiny_encoders, cache, tmp_path):
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


def test_no_set_and_unknown_sets_are_refused(make, tiny_encoders, cache):
    """What is there is named, and what makes it."""
    run = make.run()
    with pytest.raises(RunError, match="coeffdream generate"):
        evaluate_run(run, encoders=tiny_encoders, cache=cache)
    make.set(run)
    with pytest.raises(RunError, match="there: live"):
        evaluate_run(run, set_name="lively", encoders=tiny_encoders, cache=cache)


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


def test_black_pictures_are_scored_like_any_other(make, stub_encoder, cache):
    """Published evaluators drop pictures that a safety filter blackened, and score the rest higher."""
    black = (0, 0, 0)
    clip = stub_encoder({RED: [1, 0], black: [0, 1]}, {SNOW: [1, 0]})
    run = make.run(photos=0)
    make.set(run, templates=TWO[:1], colours=[RED, black])
    record = evaluate_run(
        run,
        encoders=Encoders(clip, stub_encoder({RED: [1, 0], black: [0, 1]}), False),
        cache=cache,
    )
    assert record.overall.n == 2
    assert record.overall.text_alignment == pytest.approx(0.5)


def test_useless_features_name_the_pictures(make, stub_encoder, cache):
    """A zero feature is traced to its file instead of ending in a score that is not a number."""
    clip = stub_encoder({RED: [1, 0], GREEN: [0, 0]}, {SNOW: [1, 0]})
    run = make.run(photos=0)
    make.set(run, templates=TWO[:1], colours=[RED, GREEN])
    with pytest.raises(ScoreError, match=r"for 1 of 2 pictures \(00-1\.png\)"):
        evaluate_run(run, encoders=Encoders(clip, clip, False), cache=cache)


def test_the_options_reach_the_encoders(make, tiny_encoders, cache, monkeypatch):
    """A named encoder that was not the one that scored would make every figure another's."""
    asked = []

    def clip(model, pretrained, *, device):
        asked.append((model, pretrained, device))
        return tiny_encoders.clip

    def dino(model, *, device):
        asked.append((model, device))
        return tiny_encoders.dino

    monkeypatch.setattr("coeffdream.metrics.clip.ClipEncoder", clip)
    monkeypatch.setattr("coeffdream.metrics.dino.DinoEncoder", dino)
    run = make.run()
    make.set(run)
    heard = []
    options = ScoringOptions(clip_model="a", clip_pretrained="b", dino_model="c", device="cpu", batch_size=4)
    evaluate_run(run, options=options, cache=cache, on_progress=lambda *what: heard.append(what))
    assert asked == [("a", "b", "cpu"), ("c", "cpu")]
    assert ("CLIP: pictures", 4, 6, "") in heard


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
