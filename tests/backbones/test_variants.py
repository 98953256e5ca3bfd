"""Weights in the variants that people download: one precision, another, shards, pickles."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from coeffdream.backbones.base import find_base
from coeffdream.backbones.load import load_components
from coeffdream.backbones.variants import STEMS, chosen, variants, weight_files
from coeffdream.errors import BaseModelError

CPU = torch.device("cpu")
SHARDS = [f"model-0000{number}-of-00002.fp16.safetensors" for number in (1, 2)]


def test_names():
    """As diffusers and transformers have called them over the years."""
    names = ["model.safetensors", "model.fp16.safetensors", "config.json", "model.bin", "model.onnx"]
    assert variants("text_encoder", names) == {
        "": ["model.safetensors"],
        "fp16": ["model.fp16.safetensors"],
    }
    index = "model.safetensors.index.fp16.json"
    assert variants("text_encoder", [*SHARDS, index]) == {"fp16": [*SHARDS, index]}
    assert variants("text_encoder", [SHARDS[0], index]) == {}  # a shard is missing
    assert variants("text_encoder", SHARDS) == {}  # and here what says which tensor is where
    assert variants("unet", ["diffusion_pytorch_model.non_ema.safetensors"]) == {
        "non_ema": ["diffusion_pytorch_model.non_ema.safetensors"]
    }


@pytest.mark.parametrize(
    ("dtype", "there", "taken"),
    [
        (torch.float32, ["", "fp16"], ""),
        (torch.float32, ["fp16"], "fp16"),
        (torch.bfloat16, ["", "fp16"], "fp16"),
        (torch.bfloat16, ["bf16", "fp16"], "bf16"),
        (torch.float16, [""], ""),
    ],
)
def test_the_nearest_precision_is_read(dtype, there, taken):
    """Half the bytes for half precision where there are such; what there is otherwise."""
    names = ["model.safetensors" if each == "" else f"model.{each}.safetensors" for each in there]
    choice = chosen("text_encoder", names, dtype)
    assert choice is not None
    assert choice[0] == taken
    assert chosen("text_encoder", ["model.non_ema.safetensors"], dtype) is None


def test_the_vae_is_read_for_float32():
    """It is kept so, whatever the UNet is."""
    names = {part: [f"{stem}.safetensors", f"{stem}.fp16.safetensors"] for part, stem in STEMS.items()}
    taken = {part: variant for part, (variant, _) in weight_files(names, torch.float16).items()}
    assert taken == {"unet": "fp16", "vae": "", "text_encoder": "fp16", "text_encoder_2": "fp16"}


@pytest.fixture
def copy(tiny_base, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_base, tmp_path / "copy"))


def test_a_folder_of_float16_alone_loads_in_any_precision(copy, components):
    """As `hf download --include '*.fp16.*'` leaves it."""
    for part in STEMS:
        [file] = (copy / part).glob("*.safetensors")
        halved = {name: tensor.half() for name, tensor in load_file(file).items()}
        save_file(halved, file.with_suffix(".fp16.safetensors"), {"format": "pt"})
        file.unlink()
    for dtype in (torch.float32, torch.bfloat16):
        loaded = load_components(find_base(str(copy)), device=CPU, dtype=dtype)
        assert loaded.unet.dtype == dtype
        assert loaded.vae.dtype == torch.float32
        for name, weight in loaded.unet.state_dict().items():
            assert torch.equal(weight, components.unet.state_dict()[name].half().to(dtype))


@pytest.mark.parametrize("part", STEMS)
def test_pickled_weights_are_named_as_such(copy, part):
    """Whatever stands beside them: the file is not opened, and the message says why and what to do."""
    [file] = (copy / part).glob("*.safetensors")
    file.rename(file.with_suffix(".bin"))
    with pytest.raises(BaseModelError) as caught:
        load_components(find_base(str(copy)), device=CPU, dtype=torch.float32)
    message = str(caught.value)
    assert (
        f"the weights of {part} are pickled ({part}/{file.stem}.bin), and pickled weights are never opened"
        in message
    )
    assert "take the .safetensors of the same model" in message
