"""Several things in one set: each against its own photos, on the pictures whose prompt names it."""

from __future__ import annotations

import dataclasses

import pytest
from PIL import Image
from rich.console import Console

from coeffdream.compare.comparison import compare
from coeffdream.compare.pairing import pair_runs
from coeffdream.compare.scored import load_runs
from coeffdream.errors import ScoreError
from coeffdream.metrics.encoders import Encoders
from coeffdream.metrics.evaluate import evaluate_run
from coeffdream.metrics.scores_table import scores_table
from coeffdream.records.concept import ConceptRecord, PhotoRecord
from coeffdream.records.files import sha256_of_file
from coeffdream.records.run import Part, RunFolder
from coeffdream.records.scores import read_scores

RED, GREEN, BLUE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0)
TEMPLATES = ["a <V1> cat and a <V2> dog", "a <V1> cat in snow", "a <V2> dog in snow"]
TEXTS = ["a cat and a dog", "a cat in snow", "a dog in snow"]


@pytest.fixture
def encoders(stub_encoder):
    """CLIP and DINO that see a colour as a direction; the texts are all red."""
    seen = {RED: [1, 0, 0], GREEN: [0, 1, 0], BLUE: [0.6, 0.8, 0], BLACK: [0, 0, 1]}
    return Encoders(stub_encoder(seen, {text: [1, 0, 0] for text in TEXTS}), stub_encoder(seen), False)


@pytest.fixture
def several(make, tmp_path):
    """A run of a red cat and a green dog."""

    def part(name: str, token: str, colour) -> Part:
        folder = tmp_path / f"photos of {name}"
        folder.mkdir(exist_ok=True)
        Image.new("RGB", (48, 48), colour).save(folder / "0.png")
        photo = PhotoRecord("0.png", sha256_of_file(folder / "0.png"), 48, 48, f"a <V> {name}")
        concept = ConceptRecord(name, str(folder), name, "--class", True, [photo])
        return Part(name, str(tmp_path / name), "coeff-lora", name, token, {}, concept)

    def made(name: str = "cat-and-dog", colours=(BLUE, RED, GREEN), templates=TEMPLATES) -> RunFolder:
        run = make.run(name, photos=0)
        parts = [part("cat", "sks", RED), part("dog", "zwx", GREEN)]
        run.write(
            dataclasses.replace(
                run.read(), status="several", class_noun="cat and dog", token="sks zwx", parts=parts
            )
        )
        make.set(run, templates=templates, per_prompt=1, colours=colours)
        return run

    return made


def test_each_against_its_own_photos(several, encoders, cache):
    """Two pictures each, one of them shared; values by hand. The set has text and diversity, and no photos."""
    run = several()
    record = evaluate_run(run, encoders=encoders, cache=cache)
    assert [row.text for row in record.per_prompt] == TEXTS
    assert (record.overall.concept_alignment, record.ceiling, record.references) == (None, None, [])
    assert record.overall.text_alignment == pytest.approx((0.6 + 1 + 0) / 3)
    cat, dog = record.concepts
    assert (cat.name, cat.placeholder, cat.class_noun, dog.name, dog.placeholder) == (
        "cat",
        "<V1>",
        "cat",
        "dog",
        "<V2>",
    )
    assert [image.index for image in cat.per_image] == [0, 1]
    assert [image.index for image in dog.per_image] == [0, 2]
    assert cat.overall.concept_alignment == pytest.approx((0.6 + 1) / 2)
    assert dog.overall.concept_alignment == pytest.approx((0.8 + 1) / 2)
    assert record.source.concept == "cat and dog"
    assert not record.warnings
    assert read_scores(run.scores) == record


def test_the_floor_is_of_the_same_pictures(make, several, encoders, cache):
    run = several()
    make.set(
        run, "base", untouched=True, templates=TEMPLATES, per_prompt=1, colours=(BLACK, BLACK, GREEN),
        created="2026-01-03T00:00:00+00:00",
    )  # fmt: skip
    cat, dog = evaluate_run(run, encoders=encoders, cache=cache).concepts
    assert (cat.floor.n, cat.floor.concept_alignment) == (2, pytest.approx(0))
    assert (dog.floor.n, dog.floor.concept_alignment) == (2, pytest.approx(0.5))


def test_what_no_prompt_names_is_not_scored(several, encoders, cache):
    run = several(templates=TEMPLATES[1:2], colours=(RED,))
    record = evaluate_run(run, encoders=encoders, cache=cache)
    assert [concept.name for concept in record.concepts] == ["cat"]
    assert record.warnings == ["no prompt names <V2>, so dog is not scored"]


def test_photos_that_moved_must_go_back(several, encoders, cache, tmp_path):
    """--references is one folder; the photos are of two things."""
    run = several()
    with pytest.raises(ScoreError, match="can hold the photos of one thing, and cat-and-dog shows 2"):
        evaluate_run(run, references=tmp_path, encoders=encoders, cache=cache)
    (tmp_path / "photos of dog" / "0.png").unlink()
    with pytest.raises(ScoreError, match=r"0\.png is missing"):
        evaluate_run(run, encoders=encoders, cache=cache)


def test_the_table_has_a_part_for_each(several, encoders, cache):
    console = Console(width=90, record=True, file=None, force_terminal=False)
    record = evaluate_run(several(), encoders=encoders, cache=cache)
    with console.capture() as captured:
        console.print(scores_table(record))
    said = "\n".join(line for line in captured.get().splitlines() if not line.startswith("CLIP"))
    assert "<V1>: cat, where a prompt names it" in said
    assert "<V2>: dog, where a prompt names it" in said
    assert said.count("concept alignment") == 2
    assert said.count("text alignment") == 1
    assert "0.800" in said
    assert "0.900" in said


def test_two_pairs_are_compared(several, encoders, cache, tmp_path):
    """By text and diversity, as any two runs whose prompts and seeds are alike."""
    runs = [several("one"), several("two", colours=(RED, RED, RED))]
    for run in runs:
        evaluate_run(run, encoders=encoders, cache=cache)
    found = compare(pair_runs(load_runs([str(run.path) for run in runs], tmp_path)), resamples=100)
    metrics = {each.metric: each.difference.value for each in found.contrasts[0].differences}
    assert metrics["text_alignment"] == pytest.approx(1 - (0.6 + 1 + 0) / 3)
    assert "concept_alignment" not in metrics
