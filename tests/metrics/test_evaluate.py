"""The scores of a run: right numbers, of what the manifest names, whatever the batches."""

from __future__ import annotations

import json
import random

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from transformers import Dinov2Model

from coeffdream.metrics.encoders import Encoders
from coeffdream.metrics.evaluate import evaluate_run
from coeffdream.metrics.feature_cache import FeatureCache
from coeffdream.metrics.options import ScoringOptions

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
SNOW, BEACH = "a cat in the snow", "a cat on the beach"
TWO = ["a <V> CLASS in the snow", "a <V> CLASS on the beach"]


def cosine(images: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(images, dim=-1) @ torch.nn.functional.normalize(others, dim=-1).T


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


def test_a_shuffled_manifest_changes_nothing(scored, tiny_encoders, cache, same):
    """Scores depend on what the manifest says, never on the order of its lines or of the folder."""
    run, record = scored
    manifest = run.images / "live" / "images.jsonl"
    lines = manifest.read_text().splitlines()
    random.Random(1).shuffle(lines)
    manifest.write_text("\n".join(lines) + "\n")
    assert same(evaluate_run(run, encoders=tiny_encoders, cache=cache), record)


def test_files_the_manifest_does_not_list_are_not_scored(scored, tiny_encoders, cache, draw, same):
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


def test_a_second_eval_does_not_encode(make, stubs, cache, same):
    """All features come from the cache, and the numbers are the same to the last bit."""
    run = make.run(photos=0)
    make.set(run, templates=TWO, colours=[RED, RED, GREEN, BLUE])
    stubs.clip._by_colour[BLUE] = [1, 1, 0]
    first = evaluate_run(run, encoders=stubs, cache=cache)
    asked = [len(stubs.clip.asked), len(stubs.dino.asked)]
    assert min(asked) > 0  # three distinct pictures each, and CLIP two texts
    assert same(evaluate_run(run, encoders=stubs, cache=cache), first)
    assert [len(stubs.clip.asked), len(stubs.dino.asked)] == asked


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
