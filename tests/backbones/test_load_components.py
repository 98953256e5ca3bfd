"""Loading a base: all its parts, or one line that says what to do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from coeffdream.backbones.base import Base, find_base
from coeffdream.backbones.load import load_components, meta_unet
from coeffdream.errors import BaseModelError

CPU = torch.device("cpu")


@pytest.fixture
def broken(tiny_base, tmp_path) -> Path:
    """A copy of the miniature to break."""
    return Path(shutil.copytree(tiny_base, tmp_path / "base"))


def refused(base: Base, *said: str) -> None:
    with pytest.raises(BaseModelError) as caught:
        load_components(base, device=CPU, dtype=torch.float32)
    message = str(caught.value)
    assert "\n" not in message
    for part in said:
        assert part in message


def edit(file: Path, **changes) -> None:
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def test_every_part_is_there_frozen_and_in_evaluation(components):
    """Nothing of the base may train or drop out by accident."""
    for part in (components.unet, components.vae, components.text_encoder, components.text_encoder_2):
        assert not part.training
        assert not any(parameter.requires_grad for parameter in part.parameters())
        assert next(part.parameters()).device == CPU


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_the_vae_stays_float32(tiny_base, components, dtype):
    """In float16 its activations overflow and pictures turn black; the rest is as asked."""
    loaded = load_components(find_base(str(tiny_base)), device=CPU, dtype=dtype)
    dtypes = {name: part.dtype for name, part in loaded.pipeline.components.items() if hasattr(part, "dtype")}
    assert dtypes == {"unet": dtype, "vae": torch.float32, "text_encoder": dtype, "text_encoder_2": dtype}
    assert loaded.architecture == components.architecture


@pytest.mark.parametrize("name", ["sdxl", "owner/model"])
def test_without_the_hub_one_line_names_the_other_ways(name, tmp_path, monkeypatch):
    """The default base on a train: --base toybox and --base PATH work there."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    refused(find_base(name), find_base(name).source, "hub", "--base toybox", "--base PATH")


def test_a_hub_model_without_network_has_no_shape_either():
    """`params --base owner/model` fails the same way."""
    with pytest.raises(BaseModelError, match=r"--base toybox .*--base PATH"):
        meta_unet(find_base("owner/model"))


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder_2", "scheduler", "tokenizer", "tokenizer_2"])
def test_a_folder_with_a_part_missing(broken, part):
    """A download that broke off."""
    shutil.rmtree(broken / part)
    refused(find_base(str(broken)), f"--base {broken} cannot be loaded as an SDXL model")


def test_a_folder_with_a_weight_file_cut_short(broken):
    """The same, later."""
    file = broken / "unet" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    refused(find_base(str(broken)), f"--base {broken} cannot be loaded as an SDXL model")


def test_pickled_weights_in_a_folder_are_never_opened(broken):
    """diffusers would fall back to the .bin beside."""
    file = broken / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save({"conv_in.bias": torch.zeros(16)}, file.with_suffix(".bin"))
    file.unlink()
    refused(find_base(str(broken)), f"--base {broken} cannot be loaded as an SDXL model")


def test_a_unet_of_another_family(broken):
    """No size and crop conditioning, so not SDXL's."""
    edit(broken / "unet" / "config.json", addition_embed_type=None)
    refused(find_base(str(broken)), f"--base {broken}", "SDXL")


def test_a_damaged_index(broken):
    """Valid JSON that lists no parts, and no JSON at all."""
    for content in ("{}", "{"):
        (broken / "model_index.json").write_text(content)
        refused(find_base(str(broken)), f"--base {broken} cannot be loaded as an SDXL model")


def test_a_checkpoint_that_is_no_sdxl(tmp_path):
    """A LoRA, say, given as the base."""
    save_file({"lora_unet_mid.lora_up.weight": torch.zeros(2, 2)}, tmp_path / "model.safetensors")
    base = find_base(str(tmp_path / "model.safetensors"))
    refused(base, f"--base {tmp_path / 'model.safetensors'} is a LoRA", "generate --lora FILE")


def test_shapes_need_no_weights(tiny_base, components, broken):
    """The same names and shapes as the loaded UNet, on the meta device."""
    for file in broken.rglob("*.safetensors"):
        file.unlink()
    unet = meta_unet(find_base(str(broken)))
    assert {parameter.device.type for parameter in unet.parameters()} == {"meta"}
    assert {name: p.shape for name, p in unet.named_parameters()} == {
        name: p.shape for name, p in components.unet.named_parameters()
    }


@pytest.mark.parametrize("content", [None, "{"])
def test_shapes_of_a_broken_folder(broken, content):
    """`params --base FOLDER` says so in one line, too."""
    file = broken / "unet" / "config.json"
    file.unlink() if content is None else file.write_text(content)
    with pytest.raises(BaseModelError, match="cannot be loaded as an SDXL model"):
        meta_unet(find_base(str(broken)))


def test_identity_says_where_the_base_came_from(components, tiny_base):
    """Without a path of this machine for the embedded one."""
    identity = components.identity()
    assert (identity.kind, identity.source) == ("folder", str(tiny_base))
    assert (identity.architecture, identity.sketch) == (components.architecture, components.sketch)


def test_the_text_encoders_can_be_let_go(tiny_base):
    """Their memory is needed for training; sampling goes on without them."""
    loaded = load_components(find_base(str(tiny_base)), device=CPU, dtype=torch.float32)
    loaded.release_text_encoders()
    assert loaded.text_encoder is loaded.text_encoder_2 is None
    assert loaded.pipeline.text_encoder is loaded.pipeline.text_encoder_2 is None


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_weights_that_are_not_numbers(broken, part):
    """Everything drawn with them is black, and everything learned beside them is NaN."""
    [file] = (broken / part).glob("*.safetensors")
    tensors = load_file(file)
    next(iter(tensors.values())).flatten()[0] = torch.nan
    save_file(tensors, file, {"format": "pt"})
    refused(find_base(str(broken)), f"--base {broken} holds weights that are not numbers")
