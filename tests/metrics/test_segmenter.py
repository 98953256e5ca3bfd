"""CLIPSeg as its own processor and model have it, on a tiny random one of the real class."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from transformers import CLIPSegConfig, CLIPSegForImageSegmentation, CLIPSegProcessor, ViTImageProcessor

from coeffdream.backbones.clip_tokenizers import clip_tokenizer
from coeffdream.errors import ScoreError
from coeffdream.metrics.segmenter import Segmenter

TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2}


@pytest.fixture
def folder(tmp_path) -> str:
    """A whole random CLIPSeg. Patches of 88 pixels: 16 of them in what it sees."""
    config = CLIPSegConfig(
        text_config={**TOWER, "vocab_size": 49408, "eos_token_id": 49407, "projection_dim": 16},
        vision_config={**TOWER, "image_size": 352, "patch_size": 88, "projection_dim": 16},
        projection_dim=16,
        reduce_dim=8,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=16,
        extract_layers=[0, 1, 2],
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        CLIPSegForImageSegmentation(config).save_pretrained(tmp_path / "clipseg")
    ViTImageProcessor(size={"height": 352, "width": 352}).save_pretrained(tmp_path / "clipseg")
    return str(tmp_path / "clipseg")


def test_shares_are_what_transformers_gives(folder: str, draw) -> None:
    """Its own processor, tokens and sigmoid; then the photo's size."""
    photo = draw((20, 130, 90), seed=1, size=(300, 200))
    processor = CLIPSegProcessor(ViTImageProcessor.from_pretrained(folder), clip_tokenizer("tokenizer"))
    with torch.no_grad():
        model = CLIPSegForImageSegmentation.from_pretrained(folder).eval()
        logits = model(**processor(text=["a red cat"], images=[photo], return_tensors="pt")).logits
        expected = F.interpolate(logits.reshape(1, 1, 352, 352), (200, 300), mode="bilinear").sigmoid()[0, 0]
    found = Segmenter(folder).shares(photo, "a red cat")
    assert found.shape == (200, 300)
    assert found.std() > 0
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    assert not torch.allclose(found, Segmenter(folder).shares(photo, "a blue car"), atol=1e-6)


def test_what_is_no_clipseg_is_refused(tmp_path) -> None:
    """By its configuration, before weights are read; and a name that is nothing."""
    (tmp_path / "config.json").write_text(
        '{"model_type": "clip", "vision_config": {}, "text_config": {}}', encoding="utf-8"
    )
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "preprocessor_config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ScoreError, match="describes a 'clip', not a clipseg; give a CLIPSeg as --model"):
        Segmenter(str(tmp_path))
    with pytest.raises(ScoreError, match="--model 'nowhere' is neither a folder nor a hub id such as CIDAS/"):
        Segmenter("nowhere")


def test_a_damaged_preprocessor_is_told(folder: str, draw) -> None:
    """transformers raises something else for every damage."""
    Path(folder, "preprocessor_config.json").write_text("[", encoding="utf-8")
    with pytest.raises(ScoreError, match=r"describes no image processor .*; fetch it again"):
        Segmenter(folder).shares(draw((20, 130, 90), seed=1, size=(64, 64)), "a cat")
