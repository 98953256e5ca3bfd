"""The names of other tools: on the true SDXL and on the toybox every module is found where they look."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from coeffdream.adapters.install import install, spec_for
from coeffdream.backbones.base import find_base
from coeffdream.backbones.load import meta_unet
from coeffdream.config import TrainConfig
from coeffdream.errors import AdapterError
from coeffdream.interop.names import kohya_name, portable_name, sgm_blocks, sgm_name
from coeffdream.records.run import COEFF_FILE

spec = importlib.util.spec_from_file_location("loaders", Path(__file__).with_name("loaders.py"))
loaders = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
spec.loader.exec_module(loaders)  # type: ignore[union-attr]

# Stability's sd_xl_base.yaml: channel_mult 1, 2, 4; transformer_depth 0 (no attention), 2, 10; middle as the last.
SDXL = loaders.sgm_modules(3, 2, [0, 2, 10], 10)
TOYBOX = loaders.sgm_modules(2, 1, [1, 1], 1)


@pytest.fixture(scope="module")
def unets():
    """Both architectures, shapes only."""
    return {base: meta_unet(find_base(base)) for base in ("sdxl", "toybox")}


@pytest.fixture(scope="module")
def sdxl(unets):
    return unets["sdxl"]


def weighted(unet) -> dict[str, torch.nn.Module]:
    return {
        path: module
        for path, module in unet.named_modules()
        if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d))
    }


@pytest.mark.parametrize(("base", "published"), [("sdxl", SDXL), ("toybox", TOYBOX)])
def test_every_module_has_its_name_in_the_original(unets, base, published):
    """All 794 of SDXL, all 120 of the toybox: each to a name of its own that exists there."""
    unet = unets[base]
    blocks = sgm_blocks(unet)
    named = {path: sgm_name(path, blocks) for path in weighted(unet)}
    assert len(set(named.values())) == len(named)
    assert set(named.values()) <= published
    # What is left over are resnets without a change of width: they have no skip_connection.
    assert {name.rsplit(".", 1)[1] for name in published - set(named.values())} <= {"skip_connection"}


@pytest.mark.parametrize(("base", "res_blocks"), [("sdxl", 2), ("toybox", 1)])
def test_attentions_are_numbered_by_the_closed_formula(unets, base, res_blocks):
    """Counting blocks one by one and multiplying give the same place."""
    unet = unets[base]
    blocks = sgm_blocks(unet)
    attentions = [path for path in weighted(unet) if ".attentions." in path]
    assert attentions
    for path in attentions:
        assert sgm_name(path, blocks) == loaders.attention_place(path, res_blocks)


@pytest.mark.parametrize("method", ["lora", "dora"])
@pytest.mark.parametrize(("targets", "count"), [("cross.q,cross.v", 140), ("all.q,all.k,all.v,all.out", 560)])
def test_every_adapted_module_is_found_by_every_loader(sdxl, targets, count, method):
    """140 of 140 with the paper's targets, 560 of 560 with all projections; in ComfyUI, Forge and A1111."""
    adapter = install(sdxl, spec_for(TrainConfig(method=method, lora_targets=targets), sdxl))
    try:
        blocks = sgm_blocks(sdxl)
        keys = [kohya_name("unet", path, blocks) for path in adapter.spec.lora]
        comfy = loaders.comfy_keys(SDXL)
        assert len(set(keys)) == count
        assert all(key in comfy for key in keys)
        assert [loaders.a1111_module(key, SDXL) for key in keys] == [comfy[key] for key in keys]
    finally:
        adapter.uninstall()


@pytest.mark.parametrize(("component", "which"), [("text_encoder", 1), ("text_encoder_2", 2)])
@pytest.mark.parametrize("prefix", ["", "text_model."])
def test_text_encoder_keys(component, which, prefix):
    """transformers 5 has dropped `text_model.` from CLIPTextModel; the files of the world keep it."""
    known = loaders.comfy_text_keys(which, 3)
    paths = [
        f"{prefix}encoder.layers.{layer}.{part}"
        for layer in range(3)
        for part in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj")
    ] + [f"{prefix}encoder.layers.{layer}.mlp.fc{n}" for layer in range(3) for n in (1, 2)]
    assert {kohya_name(component, path, {}) for path in paths} == known


@pytest.mark.parametrize("path", ["controlnet.block", "down_blocks.9.attentions.0.proj_in", "mid_block"])
def test_a_module_that_has_no_place_is_named(sdxl, path):
    with pytest.raises(AdapterError, match=path):
        sgm_name(path, sgm_blocks(sdxl))


def test_a_run_cannot_overwrite_its_own_files():
    """A run called like one of the files of adapter/."""
    assert portable_name("cat") == "cat.safetensors"
    assert portable_name(COEFF_FILE.removesuffix(".safetensors")) not in (COEFF_FILE,)
