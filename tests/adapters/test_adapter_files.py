"""Adapter files: what was saved comes back, and is what other tools expect."""

from __future__ import annotations

import copy
import json
from typing import get_args

import pytest
import torch

from coeffdream.adapters.files import adapter_hashes, load_adapter, save_adapter
from coeffdream.adapters.install import install, spec_for
from coeffdream.config import Method, TrainConfig
from coeffdream.errors import AdapterError, AttentionError
from coeffdream.records.files import sha256_of_file
from coeffdream.records.run import COEFF_FILE, LORA_FILE

METHODS = get_args(Method)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_what_is_saved_comes_back_exactly(unet, predict, teach, tmp_path, architecture, method, dtype):
    """Same tensors, same spec, same output to the last bit."""
    unet.to(dtype)
    fresh = copy.deepcopy(unet)
    adapter = teach(install(unet, spec_for(TrainConfig(method=method, lora_targets="all.v"), unet)))
    save_adapter(adapter, tmp_path, architecture)
    loaded = load_adapter(fresh, tmp_path, architecture)
    for part in ("rank", "dora", "lora", "alpha"):
        assert getattr(loaded.spec, part) == getattr(adapter.spec, part)
    assert loaded.spec.method == method
    assert loaded.trainable.keys() == adapter.trainable.keys()
    for name, parameter in adapter.trainable.items():
        assert torch.equal(loaded.trainable[name], parameter)
        assert loaded.trainable[name].dtype == torch.float32
    assert torch.equal(predict(fresh), predict(unet))


def test_the_files_are_what_other_tools_expect(saved, architecture, read_file):
    """Key names, shapes, dtypes and metadata of the conventions; two files, safetensors."""
    folder = saved("coeff-dora")
    assert sorted(path.name for path in folder.iterdir()) == sorted([LORA_FILE, COEFF_FILE])
    lora, meta = read_file(folder / LORA_FILE)
    path = "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_q"
    assert lora[f"{path}.lora_A.weight"].shape == (2, 32)
    assert lora[f"{path}.lora_B.weight"].shape == (32, 2)
    assert lora[f"{path}.lora_magnitude_vector"].shape == (32,)
    assert all("lora" in key for key in lora)  # diffusers refuses a file with any other key
    fields = json.loads(meta["lora_adapter_metadata"])
    assert set(fields) == {"unet.r", "unet.lora_alpha", "unet.use_dora", "unet.target_modules"}
    assert (fields["unet.r"], fields["unet.lora_alpha"], fields["unet.use_dora"]) == (2, 2, True)
    alpha, meta = read_file(folder / COEFF_FILE)
    assert len(alpha) == 8
    assert alpha["mid_block.attentions.0.transformer_blocks.0.attn1.alpha"].shape == (4, 4)
    assert {tensor.dtype for tensor in (*lora.values(), *alpha.values())} == {torch.float32}
    assert meta["coeffdream.architecture"] == architecture
    assert meta["coeffdream.companion_sha256"] == sha256_of_file(folder / LORA_FILE)
    assert json.loads(meta["coeffdream.heads"])["mid_block.attentions.0.transformer_blocks.0.attn1"] == 4
    assert (meta["coeffdream.dropout"], meta["coeffdream.parametrisation"]) == ("0.1", "residual")


@pytest.mark.parametrize(
    ("method", "files"),
    [("lora", {LORA_FILE}), ("coeff", {COEFF_FILE}), ("coeff-lora", {LORA_FILE, COEFF_FILE})],
)
def test_only_what_was_trained_is_written(saved, method, files):
    """And hashed for the manifest."""
    folder = saved(method)
    assert adapter_hashes(folder) == {name: sha256_of_file(folder / name) for name in files}


def test_the_parametrisation_travels_with_the_file(saved, unet, architecture):
    """A direct alpha read as a residual one would be another model."""
    folder = saved("coeff", parametrisation="direct-identity", coeff_dropout=0.25)
    spec = load_adapter(unet, folder, architecture).spec
    assert (spec.parametrisation, spec.dropout) == ("direct-identity", 0.25)


def test_an_adapter_whose_processor_was_replaced_is_not_saved(unet, tmp_path, architecture):
    """It would be a file of coefficients that were never in the path."""
    from diffusers.models.attention_processor import AttnProcessor2_0

    adapter = install(unet, spec_for(TrainConfig(method="coeff"), unet))
    unet.get_submodule(adapter.spec.alpha[0]).set_processor(AttnProcessor2_0())
    with pytest.raises(AdapterError, match="instead of the trained coefficients"):
        save_adapter(adapter, tmp_path / "adapter", architecture)
    assert not (tmp_path / "adapter").exists()


def test_a_unet_with_an_ip_adapter_is_refused(saved, unet, architecture):
    """Loading past spec_for must not replace the processor that draws the image prompt."""
    from diffusers.models.attention_processor import IPAdapterAttnProcessor2_0

    folder = saved("coeff-lora")
    layer = unet.mid_block.attentions[0].transformer_blocks[0].attn2
    layer.set_processor(IPAdapterAttnProcessor2_0(32, 32))
    names = list(unet.state_dict())
    with pytest.raises(AttentionError, match="IPAdapterAttnProcessor2_0"):
        load_adapter(unet, folder, architecture)
    assert list(unet.state_dict()) == names


@pytest.mark.parametrize("method", ["dora", "coeff", "coeff-lora"])
def test_the_oldest_format_loads_and_says_what_it_lacks(saved, unet, architecture, method, older):
    """Adapters outlive versions."""
    folder = older(saved(method))
    said: list[str] = []
    adapter = load_adapter(unet, folder, architecture, said.append)
    assert adapter.spec.method == method
    assert len(said) == len(list(folder.iterdir()))
    assert all("before adapters held a digest" in line and "cannot be checked" in line for line in said)


def test_equal_adapters_are_equal_files(saved):
    """A hash in a record or on the hub means something only then."""
    one, other = saved("coeff-dora"), saved("coeff-dora", "other")
    assert adapter_hashes(one) == adapter_hashes(other)
