"""What `eval` may be asked for."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from coeffdream.errors import ConfigError, ScoreError
from coeffdream.metrics.encoder_choice import encoders_for
from coeffdream.metrics.options import ScoringOptions


def test_a_batch_holds_at_least_one_picture():
    """One is allowed, none is a mistake that is named by its flag."""
    ScoringOptions(batch_size=1).check()
    with pytest.raises(ConfigError, match="--batch-size 0 must be at least 1"):
        ScoringOptions(batch_size=0).check()


@pytest.mark.parametrize(
    ("field", "score"),
    [
        ("clip_model", "text"),
        ("clip_pretrained", "text"),
        ("dino_model", "concept"),
        ("dino_vits16_model", "dino-vits16"),
        ("pickscore_model", "pickscore"),
        ("vqa_model", "vqa"),
    ],
)
def test_the_default_that_is_shown_is_the_one_taken(monkeypatch, tmp_path, field, score):
    """None and the name that help and docs show for it ask for the same weights, here absent ones."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    shown = {each.name: each.metadata["shown"] for each in fields(ScoringOptions)}[field]
    assert shown is not None

    def absent(options: ScoringOptions) -> str:
        with pytest.raises(ScoreError, match="not") as caught:
            encoders_for("sdxl", options)
        return str(caught.value)

    options = ScoringOptions(scores=score, device="cpu")
    assert absent(options) == absent(replace(options, **{field: shown}))
