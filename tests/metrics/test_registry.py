"""Scores by name: only what was asked for is made, and only its models are needed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from coeffdream.compare.alike import ENCODERS
from coeffdream.errors import ConfigError, ScoreError
from coeffdream.metrics.encoder_choice import encoders_for
from coeffdream.metrics.encoders import Encoders
from coeffdream.metrics.evaluate import evaluate_folder, evaluate_run
from coeffdream.metrics.options import ScoringOptions
from coeffdream.metrics.registry import DEFAULT, MODELS, SCORES, chosen
from coeffdream.metrics.scores_table import ROWS
from coeffdream.records.encoders import EncoderRecord, EncoderRecords
from coeffdream.records.measures import MEASURES
from coeffdream.records.scores import Summary, read_scores

PAGE = Path(__file__).parents[2] / "docs" / "scoring.md"


def test_names_are_understood():
    """In the registry's order, whatever the order typed; "default" stands for what CLIP and DINOv2 give."""
    assert [score.name for score in chosen("dino, text")] == ["text", "dino"]
    assert tuple(score.name for score in chosen("default")) == DEFAULT
    assert [score.name for score in chosen("default,dino-vits16")] == [*DEFAULT, "dino-vits16"]


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("txt", "did you mean text"),
        ("dino-vit", "did you mean dino-vits16 or dino"),
        ("", "knows no score ''"),
    ],
)
def test_an_unknown_name_is_answered_with_those_near_it(typed, says):
    """One line, before anything is loaded."""
    with pytest.raises(ConfigError, match=says):
        ScoringOptions(scores=typed).check()


def test_every_score_has_its_place():
    """A model that is described, fields that hold it, a row in the table and a line in the page."""
    page = PAGE.read_text(encoding="utf-8")
    fields = {each.name for each in dataclasses.fields(Summary)} | {"drift"}
    assert set(MODELS) == {each.name for each in dataclasses.fields(EncoderRecords)} == set(ENCODERS)
    assert set(MODELS) <= {each.name for each in dataclasses.fields(Encoders)}
    for score in SCORES.values():
        assert score.model in MODELS
        for measure in score.measures:
            assert measure.model == score.model
            assert measure is MEASURES[measure.name]
            assert measure.name in fields
        shown = {measure for _, measure, _ in ROWS}
        assert score.name == "drift" or shown.intersection(score.measures)
        model = MODELS[score.model]
        assert f"| `{score.name}` | {score.asks} | {model.name} | {model.licence} |" in page


@pytest.fixture
def pictures(make):
    run = make.run()
    make.set(run)
    return run


def test_dino_scores_need_no_clip(pictures, tiny_dino, cache, monkeypatch, tmp_path):
    """CLIP's weights are neither looked for nor loaded."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(
        "coeffdream.metrics.clip.ClipEncoder.__init__",
        lambda *args, **kwargs: pytest.fail("CLIP was asked for"),
    )
    options = ScoringOptions(scores="diversity,dino,subject", dino_model=str(tiny_dino), device="cpu")
    record = evaluate_run(pictures, options=options, cache=cache)
    overall = record.overall
    assert (overall.text_alignment, overall.concept_alignment, record.encoders.clip) == (None, None, None)
    assert None not in (
        overall.diversity,
        overall.dino_alignment,
        overall.nearest_p95,
        overall.subject_alignment,
    )
    assert read_scores(pictures.scores) == record


def test_clip_scores_need_no_dino(pictures, tiny_clip, cache, monkeypatch, tmp_path):
    """The reverse, and the numbers are those of all scores together."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    options = ScoringOptions(scores="text,concept", clip_model=f"local-dir:{tiny_clip}", device="cpu")
    record = evaluate_run(pictures, options=options, cache=cache)
    overall = record.overall
    assert (overall.diversity, overall.dino_alignment, overall.subject_alignment) == (None, None, None)
    assert record.encoders.dino is None
    assert record.per_prompt[0].diversity_without is None
    assert None not in (overall.text_alignment, overall.concept_alignment, record.ceiling.concept_alignment)


def test_the_same_numbers_alone_and_together(pictures, tiny_encoders, cache):
    """What else is asked for changes none."""
    everything = evaluate_run(pictures, encoders=tiny_encoders, cache=cache)
    alone = evaluate_run(
        pictures, encoders=tiny_encoders, cache=cache, options=ScoringOptions(scores="concept")
    )
    assert alone.overall.concept_alignment == everything.overall.concept_alignment
    assert alone.floor == everything.floor is None
    assert alone.ceiling.concept_alignment == everything.ceiling.concept_alignment


def test_scores_of_photos_alone_need_photos(make, tiny_encoders, cache, tmp_path):
    """Rather than a record without a single score."""
    own = make.set(make.run())
    (own.path / "table.csv").write_text("file,prompt\n00-0.png,a cat")
    with pytest.raises(ScoreError, match="--scores concept,subject needs photos of the thing"):
        evaluate_folder(
            own.path,
            prompts=own.path / "table.csv",
            class_noun="cat",
            options=ScoringOptions(scores="concept,subject"),
            encoders=tiny_encoders,
            cache=cache,
        )


@pytest.mark.parametrize(
    ("name", "flag", "repo"),
    [
        ("dino-vits16", "--dino-vits16-model", "facebook/dino-vits16"),
        ("pickscore", "--pickscore-model", "yuvalkirstain/PickScore_v1"),
        ("vqa", "--vqa-model", "Salesforce/blip-vqa-base"),
    ],
)
def test_weights_that_are_not_there_are_named(name, flag, repo, monkeypatch, tmp_path):
    """Offline: which files of what, and the option that takes a folder."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(ScoreError, match=f"model.safetensors.* of {repo} are not in .*{flag} FOLDER"):
        encoders_for("toybox", ScoringOptions(scores=name, device="cpu"))


class Opinion:
    """A value known beforehand: how long the text is."""

    name = "opinion"

    def describe(self) -> EncoderRecord:
        return EncoderRecord(self.name, "opinion", "", "o" * 64, "", {}, 1, {})

    def values(self, images, texts):
        return np.array([len(text) for text in texts], dtype=np.float32)


@pytest.mark.parametrize(("name", "field"), [("pickscore", "pickscore"), ("vqa", "vqa_score")])
def test_a_value_for_each_picture_and_its_prompt(name, field, pictures, cache):
    """Known values come out in the pictures' order, their mean in the summary, and once more from the cache."""
    encoders = Encoders(None, None, False, **{name: Opinion()})
    record = evaluate_run(pictures, options=ScoringOptions(scores=name), encoders=encoders, cache=cache)
    lengths = [len(prompt.text) for prompt in record.per_prompt for _ in range(2)]
    assert [getattr(image, field) for image in record.per_image] == lengths
    assert getattr(record.overall, field) == pytest.approx(np.mean(lengths))
    assert getattr(record.encoders, name).name == "opinion"
