"""CLIP on a tiny random model of the real classes. Cosines of random weights are all about 1 and say
nothing, so these tests compare tensors, module types and hashes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from open_clip.transformer import QuickGELU
from PIL import Image
from safetensors.torch import load_file, save_file

from coeffdream.errors import ScoreError
from coeffdream.metrics.clip import ClipEncoder, activations
from coeffdream.metrics.encoder import fingerprint


@pytest.fixture(scope="module")
def encoder(tiny_clip) -> ClipEncoder:
    return ClipEncoder(f"local-dir:{tiny_clip}")


@pytest.fixture
def copied(tiny_clip, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_clip, tmp_path / "clip"))


def test_images_are_what_open_clip_itself_gives(encoder, tiny_clip, draw):
    """An independent computation: open_clip's own loader and transform on the same pictures."""
    pictures = [
        draw((200, 30, 90), seed=seed, size=size) for seed, size in enumerate([(64, 48), (33, 70), (32, 32)])
    ]
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{tiny_clip}")
    with torch.no_grad():
        expected = model.eval().encode_image(torch.stack([preprocess(image) for image in pictures])).numpy()
    np.testing.assert_allclose(encoder.images(pictures), expected, atol=1e-5)


def test_texts_are_what_open_clip_itself_gives(encoder, tiny_clip):
    """The same for texts, through open_clip's own tokenizer."""
    texts = ["a cat in the snow", "a red cat"]
    model = open_clip.create_model(f"local-dir:{tiny_clip}").eval()
    with torch.no_grad():
        expected = model.encode_text(open_clip.get_tokenizer(f"local-dir:{tiny_clip}")(texts)).numpy()
    np.testing.assert_allclose(encoder.texts(texts), expected, atol=1e-5)


def test_batches_of_1_and_7_agree(encoder, draw):
    """A score must not depend on the batch size."""
    pictures = [draw((40, 30 * seed, 90), seed=seed) for seed in range(7)]
    together = encoder.images(pictures)
    alone = np.concatenate([encoder.images([image]) for image in pictures])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_the_text_tower_looks_back_only(encoder):
    """Causality: a tower that lost its mask would still run, and score every text wrongly."""
    token = encoder._tokenizer(["a red cat in the snow"])
    changed = token.clone()
    changed[0, 4:] = torch.tensor([320] * (77 - 4))
    model = encoder.model
    with torch.no_grad():
        before, after = (
            model.transformer(
                model.token_embedding(ids) + model.positional_embedding, attn_mask=model.attn_mask
            )
            for ids in (token, changed)
        )
    torch.testing.assert_close(before[:, :4], after[:, :4])
    assert not torch.allclose(before[:, 5:], after[:, 5:])
    ends = int(token[0].argmax())
    padded = token.clone()
    padded[0, ends + 1 :] = 320
    with torch.no_grad():
        torch.testing.assert_close(model.encode_text(token), model.encode_text(padded))


def test_quick_gelu_is_in_both_towers(encoder):
    """OpenAI's weights were trained with QuickGELU; GELU in either tower shifts every score."""
    assert activations(encoder.model) == {"image": {QuickGELU}, "text": {QuickGELU}}


def test_openai_weights_in_a_gelu_model_are_refused(tiny_clip, monkeypatch, tmp_path):
    """open_clip only warns when ViT-B-32 (GELU) gets the openai weights; here it is an error."""
    config = json.loads((tiny_clip / "open_clip_config.json").read_text())["model_cfg"] | {
        "quick_gelu": False
    }
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "ViT-B-32", config)
    weights = tiny_clip / "open_clip_model.safetensors"
    monkeypatch.setattr("coeffdream.metrics.clip.hub_files", lambda *args, **kwargs: [weights])
    encoder = ClipEncoder("ViT-B-32", "openai")
    with pytest.raises(ScoreError, match=r"image tower .* has GELU.*use --clip-model ViT-B-32-quickgelu"):
        encoder.images([Image.new("RGB", (40, 40))])


def test_one_gelu_tower_is_enough_to_refuse(tiny_clip, monkeypatch):
    """Both towers are looked at, not only the first."""
    from coeffdream.metrics import clip as module

    encoder = ClipEncoder(f"local-dir:{tiny_clip}")
    model = encoder.model
    model.transformer.resblocks[1].mlp.gelu = torch.nn.GELU()
    with pytest.raises(ScoreError, match="text tower"):
        module._assert_quick_gelu(model, encoder._source)


@pytest.mark.parametrize(
    ("named", "activation"),
    [({}, QuickGELU), ({"model": "ViT-B-32"}, torch.nn.GELU)],
    ids=["default", "gelu"],
)
def test_a_local_file_serves_a_named_model(build_clip, monkeypatch, draw, tmp_path, named, activation):
    """--clip-pretrained FILE: the architecture and its activation by name, the weights from disk."""
    model = named.get("model", "ViT-B-32-quickgelu")
    folder = build_clip(tmp_path / "clip", quick_gelu=activation is QuickGELU)
    config = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, model, config)
    encoder = ClipEncoder(**named, pretrained=str(folder / "open_clip_model.safetensors"))
    image = draw((9, 90, 200), seed=0)
    np.testing.assert_array_equal(encoder.images([image]), ClipEncoder(f"local-dir:{folder}").images([image]))
    assert activations(encoder.model) == {"image": {activation}, "text": {activation}}
    assert encoder.describe().pretrained == "open_clip_model.safetensors"


def test_the_default_is_b32_quickgelu_openai():
    """The encoder that fits the paper's values, with CLIP's own normalisation; its weights are not here."""
    config = open_clip.get_model_config("ViT-B-32-quickgelu")
    assert config["quick_gelu"] is True
    tag = open_clip.get_pretrained_cfg("ViT-B-32-quickgelu", "openai")
    assert tag["mean"] == open_clip.OPENAI_DATASET_MEAN
    assert tag["hf_hub"] == "timm/vit_base_patch32_clip_224.openai/"


def test_absent_weights_name_what_to_fetch(monkeypatch, tmp_path):
    """Offline: one line that says which file, where it was looked for, and what else can be given."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(ScoreError) as caught:
        ClipEncoder()
    message = str(caught.value)
    assert "open_clip_model.safetensors of timm/vit_base_patch32_clip_224.openai" in message
    assert str(tmp_path / "hub") in message
    assert "--clip-model local-dir:FOLDER" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("model", "pretrained", "says"),
    [
        ("ViT-B-33", "openai", "near to it: ViT-B-32"),
        ("hf-hub:someone/something", "openai", "local-dir:FOLDER"),
        ("ViT-B-32-quickgelu", "laion9b", "its tags: openai"),
        ("ViT-B-32-quickgelu", "gone.safetensors", "neither a file nor a tag"),
        ("local-dir:/nowhere/at/all", "", "is not a folder"),
    ],
)
def test_unknown_models_are_refused_with_the_known_ones(model, pretrained, says):
    """A typing mistake must not end in another model, or in a traceback."""
    with pytest.raises(ScoreError, match=says):
        ClipEncoder(model, pretrained)


def test_pickled_weights_are_not_read(tmp_path):
    """A pickle runs code when it is opened."""
    weights = tmp_path / "ViT-B-32.pt"
    torch.save({}, weights)
    with pytest.raises(ScoreError, match=r"not a .safetensors file"):
        ClipEncoder("ViT-B-32-quickgelu", str(weights))


def test_a_folder_without_weights_is_refused(copied):
    """open_clip itself goes on with random numbers."""
    (copied / "open_clip_model.safetensors").unlink()
    with pytest.raises(ScoreError, match=r"has no open_clip_model\.safetensors"):
        ClipEncoder(f"local-dir:{copied}")


@pytest.mark.parametrize("text", ["{", "[]", '{"model_cfg": {}}', '{"model_cfg": 3}'])
def test_a_damaged_configuration_is_named(copied, text):
    """One line with the file's name instead of a KeyError."""
    (copied / "open_clip_config.json").write_text(text)
    with pytest.raises(ScoreError, match=r"open_clip_config\.json"):
        ClipEncoder(f"local-dir:{copied}")


@pytest.mark.parametrize("damage", ["cut", "lacks a tensor"])
def test_damaged_weights_are_named(copied, damage):
    """Neither a cut file nor one that lacks a layer may be half loaded."""
    weights = copied / "open_clip_model.safetensors"
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-1000])
    else:
        tensors = load_file(weights)
        del tensors["visual.proj"]
        save_file(tensors, weights)
    with pytest.raises(ScoreError, match="does not fit"):
        ClipEncoder(f"local-dir:{copied}").images([Image.new("RGB", (40, 40))])


def test_token_counts_see_past_the_context(encoder):
    """The tokenizer cuts silently at 77; the count tells that it did."""
    short, long = encoder.token_counts(["a cat", "cat " * 90])
    assert (short, long) == (4, 92)
    assert encoder._tokenizer(["cat " * 90]).shape == (1, 77)


def test_a_trailing_full_stop_is_another_text(encoder):
    """Texts go to the tokenizer as they are: prompts with and without a full stop score differently."""
    plain, dotted = encoder.texts(["a cat in the snow", "a cat in the snow."])
    assert np.abs(plain - dotted).max() > 1e-6


def test_the_fingerprint_follows_weights_and_preprocessing(copied, build_clip):
    """Cached features must not survive other weights or another normalisation."""
    first = fingerprint(ClipEncoder(f"local-dir:{copied}"))
    assert fingerprint(ClipEncoder(f"local-dir:{copied}")) == first
    weights = copied / "open_clip_model.safetensors"
    tensors = load_file(weights)
    tensors["logit_scale"] += 1
    save_file(tensors, weights)
    second = fingerprint(ClipEncoder(f"local-dir:{copied}"))
    config = copied / "open_clip_config.json"
    value = json.loads(config.read_text())
    value["preprocess_cfg"]["mean"] = [0.5, 0.5, 0.5]
    config.write_text(json.dumps(value))
    third = fingerprint(ClipEncoder(f"local-dir:{copied}"))
    assert len({first, second, third}) == 3


@pytest.mark.parametrize("library", ["open_clip_torch", "torch", "torchvision", "pillow"])
def test_the_fingerprint_follows_the_libraries(encoder, follows, library):
    """What decodes, resizes and computes."""
    assert follows(encoder, library)
    assert not follows(encoder, "numpy")


def test_description_holds_no_path_of_this_machine(encoder, tiny_clip):
    """scores.json of two machines must be comparable, so a model's place is not part of its name."""
    assert str(tiny_clip.parent) not in str(encoder.describe())
