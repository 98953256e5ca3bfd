"""DINOv2 on a tiny random model of the real class."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import Dinov2Model
from transformers.utils import logging

from coeffdream.errors import ScoreError
from coeffdream.metrics.dino import DinoEncoder
from coeffdream.metrics.encoder import fingerprint


@pytest.fixture(scope="module")
def encoder(tiny_dino) -> DinoEncoder:
    return DinoEncoder(str(tiny_dino))


@pytest.fixture
def copied(tiny_dino, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_dino, tmp_path / "dino"))


def by_hand(image: Image.Image, *, edge: int, crop: int, mean, std) -> torch.Tensor:
    """Shortest edge, centre crop and normalisation written out with Pillow and numpy only."""
    scale = edge / min(image.size)
    width, height = (edge if side == min(image.size) else int(side * scale) for side in image.size)
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = round((width - crop) / 2), round((height - crop) / 2)
    pixels = np.asarray(resized.crop((left, top, left + crop, top + crop)), dtype=np.float32) / 255
    return torch.from_numpy(((pixels - np.float32(mean)) / np.float32(std)).transpose(2, 0, 1))


def cls(folder, batch: torch.Tensor) -> np.ndarray:
    model = Dinov2Model.from_pretrained(folder).eval()
    with torch.no_grad():
        output = model(pixel_values=batch)
    torch.testing.assert_close(output.last_hidden_state[:, 0], output.pooler_output)
    return output.pooler_output.numpy()


IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
CLIP = {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)}


def test_features_are_what_transformers_itself_gives(encoder, tiny_dino, draw):
    """An independent computation: 28 px model, so shortest edge 32, crop 28, ImageNet's mean and std."""
    pictures = [draw((200, 30, 90), seed=0, size=(64, 48)), draw((20, 130, 90), seed=1, size=(40, 90))]
    batch = torch.stack([by_hand(image, edge=32, crop=28, **IMAGENET) for image in pictures])
    np.testing.assert_allclose(encoder.images(pictures), cls(tiny_dino, batch), atol=1e-5)
    assert encoder.describe().feature == "CLS of the last hidden state"  # the record says which


def test_the_normalisation_is_not_clips(encoder, tiny_dino, draw):
    """BitImageProcessor without its file has CLIP's mean and std; that has spoiled published scores."""
    image = draw((200, 30, 90), seed=0)
    wrong = cls(tiny_dino, by_hand(image, edge=32, crop=28, **CLIP)[None])
    assert np.abs(encoder.images([image]) - wrong).max() > 1e-3


def test_a_published_model_looks_at_224_of_256(copied, draw):
    """facebook/dinov2-base has a grid of 518 px in its file and is used at 224; a miniature at its own size."""
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(config | {"image_size": 518}))
    published = DinoEncoder(str(copied)).describe().preprocessing
    assert (published["shortest_edge"], published["centre_crop"]) == (256, 224)
    (copied / "config.json").write_text(json.dumps(config | {"image_size": 64}))
    small = DinoEncoder(str(copied)).describe().preprocessing
    assert (small["shortest_edge"], small["centre_crop"]) == (73, 64)


def test_batches_of_1_and_7_agree(encoder, draw):
    """A score must not depend on the batch size."""
    pictures = [draw((40, 30 * seed, 90), seed=seed) for seed in range(7)]
    alone = np.concatenate([encoder.images([image]) for image in pictures])
    np.testing.assert_allclose(encoder.images(pictures), alone, atol=1e-5)


def test_describing_needs_no_model(encoder, monkeypatch):
    """A second eval finds all features in the cache; it should not wait for a model to load."""
    monkeypatch.setattr(
        Dinov2Model, "from_pretrained", lambda *args, **kwargs: pytest.fail("the model was loaded")
    )
    description = encoder.describe()
    assert description.width == 24
    assert len(description.weights_sha256) == 64


def test_the_fingerprint_follows_the_weights(copied):
    """Cached features must not survive other weights."""
    first = fingerprint(DinoEncoder(str(copied)))
    tensors = load_file(copied / "model.safetensors")
    tensors["layernorm.bias"] += 1
    save_file(tensors, copied / "model.safetensors")
    assert fingerprint(DinoEncoder(str(copied))) != first


@pytest.mark.parametrize("library", ["transformers", "torch", "torchvision", "pillow"])
def test_the_fingerprint_follows_the_libraries(encoder, follows, library):
    """What decodes, resizes and computes."""
    assert follows(encoder, library)


def test_missing_tensors_are_refused(copied):
    """transformers fills them with random numbers and goes on."""
    tensors = load_file(copied / "model.safetensors")
    del tensors["layernorm.weight"]
    save_file(tensors, copied / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ScoreError, match=r"lacks layernorm\.weight"):
        DinoEncoder(str(copied)).images([Image.new("RGB", (40, 40))])


def test_damaged_weights_are_named(copied):
    """A cut download ends in one line."""
    weights = copied / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ScoreError, match="cannot be loaded as a DINOv2"):
        DinoEncoder(str(copied)).images([Image.new("RGB", (40, 40))])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not a DINOv2.s configuration"),
        ('{"model_type": "vit", "hidden_size": 3, "image_size": 8, "patch_size": 4}', "'vit'"),
    ],
)
def test_another_kind_of_model_is_refused(copied, text, says):
    """A folder with something else in it is named, not half loaded."""
    (copied / "config.json").write_text(text)
    with pytest.raises(ScoreError, match=says):
        DinoEncoder(str(copied))


@pytest.mark.parametrize("model", ["dinov2", "./nowhere", "/nowhere/at/all", "a/b/c"])
def test_names_that_are_nothing_are_refused(model):
    """A folder that is not there must not become a question to the hub."""
    with pytest.raises(ScoreError, match="neither a folder nor a hub id"):
        DinoEncoder(model)


def test_absent_weights_name_what_to_fetch(monkeypatch, tmp_path):
    """Offline: which files, where they were looked for, and what else can be given."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(ScoreError) as caught:
        DinoEncoder()
    for part in (
        "config.json and model.safetensors of facebook/dinov2-base",
        str(tmp_path / "hub"),
        "--dino-model FOLDER",
    ):
        assert part in str(caught.value)


def test_loading_is_silent(encoder, capfd):
    """In a pipe, transformers' own loading bar would mix with coeffdream's lines, also where something turned it on."""
    logging.enable_progress_bar()
    encoder.images([Image.new("RGB", (40, 40))])
    assert capfd.readouterr() == ("", "")
