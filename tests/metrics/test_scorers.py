"""Which encoders score which base."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from transformers import Dinov2Model

from coeffdream.errors import ScoreError
from coeffdream.metrics.encoder_choice import encoders_for
from coeffdream.metrics.evaluate import evaluate_folder, evaluate_run
from coeffdream.metrics.options import ScoringOptions
from coeffdream.records.base import BaseRecord
from coeffdream.records.scores import EMBEDDED_LABEL
from coeffdream.toybox.paths import CLIP_SCORER, DINO_SCORER

ON_THE_CPU = ScoringOptions(device="cpu")


@pytest.fixture
def embedded(monkeypatch, tiny_clip, tiny_dino):
    """The package's own scorers, played by the tiny ones."""
    monkeypatch.setattr("coeffdream.toybox.paths.CLIP_SCORER", tiny_clip)
    monkeypatch.setattr("coeffdream.toybox.paths.DINO_SCORER", tiny_dino)


def test_the_toybox_is_scored_by_the_embedded_ones(embedded, tiny_clip, make, cache):
    """A toybox run works offline, and its scores are labelled in the record."""
    run = make.run(base=BaseRecord("toybox", "toybox", "embedded"))
    make.set(run)
    record = evaluate_run(run, cache=cache)
    assert (record.embedded, record.label) == (True, EMBEDDED_LABEL)
    assert record.encoders.clip.model == f"local-dir:{tiny_clip.name}"


def test_a_folder_can_be_scored_by_the_embedded_ones(embedded, make, cache):
    """Peers on the toybox get the toybox's options, and its label."""
    own = make.set(make.run())
    (own.path / "table.csv").write_text("file,prompt\n00-0.png,a cat")
    record = evaluate_folder(
        own.path,
        prompts=own.path / "table.csv",
        class_noun="cat",
        base="toybox",
        cache=cache,
    )
    assert record.label == EMBEDDED_LABEL


def test_another_base_is_never_scored_by_the_embedded_ones(embedded, monkeypatch, tmp_path):
    """Scores of SDXL pictures by a miniature would mean nothing: the standard encoders are asked for."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(ScoreError, match=r"timm/vit_base_patch32_clip_224\.openai"):
        encoders_for("sdxl", ON_THE_CPU)


def test_named_encoders_replace_the_embedded_ones(embedded, tiny_clip, tiny_dino):
    """One replaced, the other embedded: still labelled. Both replaced: not."""
    clip = f"local-dir:{tiny_clip}"
    one, other = replace(ON_THE_CPU, clip_model=clip), replace(ON_THE_CPU, dino_model=str(tiny_dino))
    assert encoders_for("toybox", one).embedded
    assert encoders_for("toybox", other).embedded
    assert not encoders_for("toybox", replace(other, clip_model=clip)).embedded


def test_the_embedded_ones_agree_with_the_libraries_themselves(draw):
    """The shipped scorers, with a tokenizer of their own, against open_clip and transformers called directly."""
    pictures = [draw((200, 30, 90), seed=seed, size=(64, 64)) for seed in range(3)]
    texts = ["a cat in the snow", "a red car"]
    encoders = encoders_for("toybox", ON_THE_CPU)
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{CLIP_SCORER}")
    dino = Dinov2Model.from_pretrained(DINO_SCORER, dtype=torch.float32).eval()
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    squares = [
        np.asarray(p.resize((73, 73), Image.Resampling.BICUBIC).crop((4, 4, 68, 68))) for p in pictures
    ]
    look = torch.stack(
        [((torch.from_numpy(square / 255).float() - mean) / std).permute(2, 0, 1) for square in squares]
    )
    with torch.no_grad():
        expected_pictures = model.eval().encode_image(torch.stack([preprocess(p) for p in pictures])).numpy()
        expected_texts = model.encode_text(open_clip.get_tokenizer(f"local-dir:{CLIP_SCORER}")(texts)).numpy()
        expected_look = dino(look).pooler_output.numpy()
    np.testing.assert_allclose(encoders.clip.images(pictures), expected_pictures, atol=1e-5)
    np.testing.assert_allclose(encoders.clip.texts(texts), expected_texts, atol=1e-5)
    np.testing.assert_allclose(encoders.dino.images(pictures), expected_look, atol=1e-5)


def test_the_embedded_tokenizer_counts_past_its_context():
    """32 tokens are all that the embedded CLIP reads; its tokenizer cuts silently, the count does not."""
    clip = encoders_for("toybox", ON_THE_CPU).clip
    short, long = clip.token_counts(["a cat", " ".join(["a cat"] * 40)])
    assert short < clip.context_length == 32 < 80 <= long
