"""The ComfyUI node against our own processors, in a stand-in for ComfyUI's model made from its documented interface.

The interface: a ModelPatcher with clone() and set_model_attn1_replace(patch, block_name, number, transformer_index);
a transformer block calls patch(q, k, v, extra_options) between its projections, with n_heads among the options, and
blocks are called ("input", i), ("middle", 0), ("output", i).
"""

from __future__ import annotations

import copy
import importlib.util
import sys
import types
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from coeffdream.adapters.files import save_adapter
from coeffdream.adapters.install import install, spec_for
from coeffdream.adapters.layers import attention_layers
from coeffdream.backbones.fingerprint import architecture_of
from coeffdream.config import TrainConfig
from coeffdream.interop.names import sgm_blocks, sgm_name
from coeffdream.records.run import COEFF_FILE

NODE = Path(__file__).parents[2] / "integrations" / "comfyui" / "coeffdream_alpha.py"


@pytest.fixture
def node(monkeypatch, tmp_path):
    """The node's module, with the two things that it takes from ComfyUI."""

    def attention(q, k, v, heads):
        query, key, value = (each.unflatten(-1, (heads, -1)).transpose(1, 2) for each in (q, k, v))
        return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)

    folders = types.ModuleType("folder_paths")
    folders.get_filename_list = lambda kind: sorted(each.name for each in tmp_path.glob("*.safetensors"))
    folders.get_full_path = lambda kind, name: str(tmp_path / name)
    comfy = types.ModuleType("comfy.ldm.modules.attention")
    comfy.optimized_attention = attention
    monkeypatch.setitem(sys.modules, "folder_paths", folders)
    for name in ("comfy", "comfy.ldm", "comfy.ldm.modules"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "comfy.ldm.modules.attention", comfy)
    spec = importlib.util.spec_from_file_location("coeffdream_alpha", NODE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Patcher:
    """As much of ComfyUI's ModelPatcher as a node sees."""

    def __init__(self, levels: list[int]) -> None:
        config = types.SimpleNamespace(unet_config={"num_res_blocks": levels})
        self.model = types.SimpleNamespace(model_config=config)
        self.replaced: dict[tuple, object] = {}

    def clone(self) -> Patcher:
        other = copy.copy(self)
        other.replaced = dict(self.replaced)
        return other

    def set_model_attn1_replace(self, patch, block_name, number, transformer_index=None) -> None:
        self.replaced["attn1", block_name, number, transformer_index] = patch

    def set_model_attn2_replace(self, patch, block_name, number, transformer_index=None) -> None:
        self.replaced["attn2", block_name, number, transformer_index] = patch


class ComfyBlock:
    """A diffusers attention that asks a patcher first, as ComfyUI's transformer block does."""

    def __init__(self, plain, key: tuple, patcher: Patcher) -> None:
        self.plain, self.key, self.patcher = plain, key, patcher

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None):
        patch = self.patcher.replaced.get(self.key)
        if patch is None:
            return self.plain(attn, hidden_states, encoder_hidden_states, attention_mask)
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        options = {"n_heads": attn.heads, "dim_head": attn.inner_dim // attn.heads}
        output = patch(attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context), options)
        return attn.to_out[1](attn.to_out[0](output))


def in_comfyui(unet, patcher: Patcher) -> None:
    """Every attention of a diffusers UNet under the key that ComfyUI gives the same layer, from its sgm name."""
    blocks = sgm_blocks(unet)
    for layer in attention_layers(unet):
        block, number, *rest = sgm_name(layer.path, blocks).split(".")
        side = block.removesuffix("_blocks").removesuffix("_block")
        place = (side, 0 if side == "middle" else int(number))
        key = (rest[-1], *place, int(rest[-2]))
        layer.module.set_processor(ComfyBlock(layer.module.processor, key, patcher))


@pytest.mark.parametrize("parametrisation", ["residual", "direct-random"])
@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_the_node_computes_what_our_processors_compute(
    node, unet, toy_unet, predict, learned_on, tmp_path, strength, parametrisation
):
    """Every layer of the toybox's UNet, through the patch points, at two strengths."""
    config = TrainConfig(method="coeff", parametrisation=parametrisation)
    adapter = install(unet, spec_for(config, unet))
    with torch.no_grad():
        generator = torch.Generator().manual_seed(1)
        for alpha in adapter.alpha.values():
            alpha += 0.1 * torch.randn(alpha.shape, generator=generator)
    save_adapter(adapter, tmp_path, architecture_of(toy_unet))
    adapter.set_scales(alpha=strength)
    theirs = copy.deepcopy(toy_unet)
    [patched] = node.CoeffdreamAlpha().apply(Patcher([1, 1]), COEFF_FILE, strength)
    assert len(patched.replaced) == len(adapter.alpha)
    in_comfyui(theirs, patched)
    ours = predict(unet)
    assert (predict(theirs) - ours).abs().max() <= 1e-5 * ours.abs().max()
    assert (ours - predict(toy_unet)).abs().max() > 1e-2 * ours.abs().max()


def test_the_model_given_is_left_as_it_was(node, unet, toy_unet, learned_on, tmp_path):
    save_adapter(learned_on(unet, "coeff"), tmp_path, architecture_of(toy_unet))
    given = Patcher([1, 1])
    node.CoeffdreamAlpha().apply(given, COEFF_FILE, 1.0)
    assert not given.replaced
    assert node.CoeffdreamAlpha.INPUT_TYPES()["required"]["coefficients"] == ([COEFF_FILE],)


def test_sdxls_layers_are_found_under_their_numbers(node):
    """The places of the true SDXL, num_res_blocks 2, 2, 2."""
    inside = "attentions.1.transformer_blocks.3.attn2.alpha"
    assert node.place_of(f"down_blocks.2.{inside}", [2, 2, 2]) == ("attn2", "input", 8, 3)
    assert node.place_of(f"up_blocks.1.{inside}", [2, 2, 2]) == ("attn2", "output", 4, 3)
    middle = "mid_block.attentions.0.transformer_blocks.9.attn1.alpha"
    assert node.place_of(middle, [2, 2, 2]) == ("attn1", "middle", 0, 9)


def test_queries_in_pieces_give_the_same(node, monkeypatch):
    """What bounds the memory does not change the result."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, n, 12, generator=generator) for n in (9, 7, 7))
    mixing = torch.randn(3, 3, generator=generator)
    whole = node.mixed(q, k, v, mixing, 3)
    monkeypatch.setattr(node, "MAP_BYTES", 8 * 2 * 3 * 7 * 2)
    assert torch.allclose(node.mixed(q, k, v, mixing, 3), whole, atol=1e-6)


def test_what_does_not_fit_is_refused(node, unet, toy_unet, learned_on, tmp_path):
    """A plain LoRA file, a model that is no UNet, another number of heads."""
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, tmp_path / "lora.safetensors")
    with pytest.raises(ValueError, match="coeff_weights"):
        node.CoeffdreamAlpha().apply(Patcher([1, 1]), "lora.safetensors", 1.0)
    save_adapter(learned_on(unet, "coeff"), tmp_path, architecture_of(toy_unet))
    none = Patcher([1, 1])
    none.model.model_config.unet_config = {}
    with pytest.raises(ValueError, match="no UNet"):
        node.CoeffdreamAlpha().apply(none, COEFF_FILE, 1.0)
    patch = node.mixing_patch("here", torch.zeros(4, 4), True, 1.0)
    with pytest.raises(ValueError, match="another base"):
        patch(*(torch.zeros(1, 2, 12) for _ in "qkv"), {"n_heads": 3})
