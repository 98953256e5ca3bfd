"""The page of several runs together."""

from __future__ import annotations

import dataclasses

import pytest

from coeffdream.records.concept import ConceptRecord
from coeffdream.records.run import Part, RunFolder
from coeffdream.records.scores import ConceptScores, read_scores, write_scores
from coeffdream.report.page import write_report

TEMPLATES = ("a <V1> cat beside a <V2> dog", "a <V1> cat")


@pytest.fixture
def several(builder) -> RunFolder:
    """Scored against the photos of both, the dog's floor above it."""
    cat = builder.trained().folder.read().concept
    dog = dataclasses.replace(cat, name="dog", class_noun="dog")
    parts = [part("cat", "sks", cat), part("dog", "zwx", dog)]
    builder.templates = TEMPLATES
    builder.trained(status="several", concept=None, class_noun="cat and dog", parts=parts, steps_done=0)
    builder.drawn("benchmark-base", adapter=False).drawn().scored()
    file = builder.folder.images / "benchmark" / "scores.json"
    scores = read_scores(file)
    concepts = [
        ConceptScores(
            each.name, f"<V{number}>", each.class_noun, [],
            dataclasses.replace(scores.overall, concept_alignment=value, n=n), scores.floor, scores.ceiling,
            scores.per_prompt, scores.per_image,
        )
        for number, (each, value, n) in enumerate(zip(parts, (0.777, 0.555), (8, 4), strict=True), start=1)
    ]  # fmt: skip
    nothing = dataclasses.replace(
        scores.overall, concept_alignment=None, dino_alignment=None, nearest_p95=None
    )
    nothing = dataclasses.replace(nothing, nearest_mean=None, nearest_max=None)
    write_scores(
        file, dataclasses.replace(scores, overall=nothing, references=[], ceiling=None, concepts=concepts)
    )
    return builder.folder


def part(name: str, token: str, concept: ConceptRecord) -> Part:
    return Part(name, f"/runs/{name}", "coeff-lora", name, token, {}, concept)


def test_each_thing_has_its_card_and_its_rows(several, reading):
    """What was scored against whose photos, and how many pictures that were."""
    seen = reading(write_report(several)[0].read_text(encoding="utf-8"))
    assert "the cat and dog that cat and dog learned, drawn together" in seen.text
    assert "adapters of several runs together" in seen.text
    for words in ("Concept alignment, cat", "Concept alignment, dog", "0.777", "0.555", "n = 8", "n = 4"):
        assert words in seen.text
    assert "Nearest photo, mean, dog (n = 4)" in seen.text
    assert "dog: Concept alignment is not above the untouched base" in seen.text


def test_it_says_how_to_draw_it_again(several, reading):
    """With both adapters; and nothing of a training that was not."""
    seen = reading(write_report(several)[0].read_text(encoding="utf-8"))
    assert "coeffdream generate --prompts live --adapter /runs/cat --adapter /runs/dog" in " ".join(
        seen.text.split()
    )
    assert "coeffdream train" not in seen.text
    assert "not finished" not in seen.text
