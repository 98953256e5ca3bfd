"""Scores by models of other libraries, on tiny random ones of the real classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    BertTokenizerFast,
    BlipConfig,
    BlipForQuestionAnswering,
    CLIPConfig,
    CLIPModel,
    ViTConfig,
    ViTModel,
)

from coeffdream.errors import ScoreError
from coeffdream.metrics.dino import DINO_VITS16, DinoEncoder
from coeffdream.metrics.pickscore import PickScoreEncoder
from coeffdream.metrics.vqa import QUESTION, VqaEncoder
from coeffdream.records.files import sha256_of_file

TEXTS = ["a cat in the snow", "a red car"]


@pytest.fixture
def images(draw):
    return [draw((200, 30 + 150 * seed, 90), seed=seed, size=(64, 64)) for seed in range(2)]


def made(model, folder):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model().save_pretrained(folder)
    return str(folder)


def normalised(images, side, mean, std) -> torch.Tensor:
    rows = [
        np.asarray(image.resize((side, side), Image.Resampling.BICUBIC), np.float32) / 255 for image in images
    ]
    return torch.from_numpy((np.stack(rows) - np.float32(mean)) / np.float32(std)).permute(0, 3, 1, 2)


CLIPS = {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)}


def test_dino_vits16_is_what_transformers_gives(tmp_path, draw):
    """DreamBooth's encoder is a ViT without a pooler: CLS after the last norm, 28 of 32 pixels here."""
    config = ViTConfig(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        image_size=28,
        patch_size=7,
    )
    folder = made(lambda: ViTModel(config, add_pooling_layer=False), tmp_path / "vit")
    encoder = DinoEncoder(folder, family=DINO_VITS16)
    picture = draw((20, 130, 90), seed=1, size=(32, 32)).crop((2, 2, 30, 30))
    framed = Image.new("RGB", (32, 32))
    framed.paste(picture, (2, 2))
    look = normalised([picture], 28, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    with torch.no_grad():
        expected = ViTModel.from_pretrained(folder, add_pooling_layer=False).eval()(look).last_hidden_state
    np.testing.assert_allclose(encoder.images([framed]), expected[:, 0], atol=1e-5)
    assert encoder.describe().name == "DINO vit"
    with pytest.raises(ScoreError, match="describes a 'vit', not a dinov2"):
        DinoEncoder(folder)


def test_pickscore_is_the_logit_of_picture_and_text(tmp_path, images, follows):
    """As the model's own page computes it: logit scale times the cosine, each picture with its own text."""
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={**tower, "vocab_size": 49408, "projection_dim": 16, "eos_token_id": 49407},
        vision_config={**tower, "image_size": 32, "patch_size": 8, "projection_dim": 16},
        projection_dim=16,
    )
    folder = made(lambda: CLIPModel(config), tmp_path / "pick")
    import open_clip

    tokens = open_clip.tokenize(TEXTS)
    with torch.no_grad():
        output = CLIPModel.from_pretrained(folder).eval()(
            input_ids=tokens, pixel_values=normalised(images, 32, **CLIPS)
        )
    expected = output.logits_per_image.diagonal().numpy()
    encoder = PickScoreEncoder(folder)
    np.testing.assert_allclose(encoder.values(images, TEXTS), expected, rtol=1e-3)
    assert expected[0] != pytest.approx(expected[1])
    assert encoder.describe().weights_sha256 == sha256_of_file(tmp_path / "pick" / "model.safetensors")
    libraries = ("transformers", "open_clip_torch", "torch", "torchvision", "pillow")
    assert all(follows(encoder, library) for library in libraries)


@pytest.fixture
def blip(tmp_path):
    """A tiny BLIP whose words are those of the question."""
    words = QUESTION.format(text=" ".join(TEXTS)).lower().replace('"', ' " ').replace("?", " ? ")
    vocabulary = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        *sorted({*words.replace(".", " . ").split(), "yes", "no"}),
        "[DEC]",
    ]
    folder = tmp_path / "blip"
    folder.mkdir()
    tower = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "initializer_range": 0.3,  # large enough that the picture moves the answer
    }
    config = BlipConfig(
        text_config={
            **tower,
            "vocab_size": len(vocabulary),
            "encoder_hidden_size": 32,
            "bos_token_id": len(vocabulary) - 1,
            "pad_token_id": 0,
            "sep_token_id": 3,
            "max_position_embeddings": 64,
        },
        vision_config={**tower, "image_size": 32, "patch_size": 8},
        projection_dim=16,
    )
    made(lambda: BlipForQuestionAnswering(config), folder)
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    BertTokenizerFast(vocab=str(folder / "vocab.txt"), model_max_length=64).save_pretrained(folder)
    return folder


def test_vqa_is_the_probability_of_yes(blip, images, follows):
    """The same as transformers' own generation scores the first word of its answer with."""
    tokenizer = BertTokenizerFast.from_pretrained(blip)
    asked = tokenizer([QUESTION.format(text=text) for text in TEXTS], padding=True, return_tensors="pt")
    assert tokenizer.unk_token_id not in asked.input_ids
    with torch.no_grad():
        first = (
            BlipForQuestionAnswering.from_pretrained(blip)
            .eval()
            .generate(
                input_ids=asked.input_ids,
                attention_mask=asked.attention_mask,
                pixel_values=normalised(images, 32, **CLIPS),
                max_new_tokens=1,
                output_logits=True,
                return_dict_in_generate=True,
            )
        )
    yes = tokenizer.convert_tokens_to_ids("yes")
    expected = first.logits[0].softmax(dim=-1)[:, yes].numpy()
    encoder = VqaEncoder(str(blip))
    found = encoder.values(images, TEXTS)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert ((found > 0) & (found < 1)).all()
    assert np.abs(encoder.values(images[::-1], TEXTS) / found - 1).min() > 0.1  # the picture counts
    assert encoder.describe().weights_sha256 == sha256_of_file(blip / "model.safetensors")
    assert all(follows(encoder, library) for library in ("transformers", "torch", "torchvision", "pillow"))
