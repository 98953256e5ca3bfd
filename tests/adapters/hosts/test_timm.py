"""Mixed heads inside timm's vision transformers: nothing at alpha = 0, Eq. 9-11 at any other, and no trace when removed."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from coeffdream import (
    add_coefficients,
    coefficients_of,
    load_coefficients,
    remove_coefficients,
    save_coefficients,
)
from coeffdream.adapters.layers import attention_layers

BOTH = pytest.mark.parametrize("fused", [True, False])


def built(*, fused: bool = True, **options: Any) -> nn.Module:
    from timm.models.vision_transformer import VisionTransformer

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = VisionTransformer(
            img_size=8,
            patch_size=4,
            embed_dim=16,
            depth=2,
            num_heads=4,
            mlp_ratio=2,
            num_classes=3,
            **options,
        )
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(torch.randn_like(parameter) * 0.3)
    for block in model.blocks:
        block.attn.fused_attn = fused
    return model.double().eval()


def pictures() -> Tensor:
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_its_layers_are_found() -> None:
    found = [(each.path, each.kind, each.heads, each.head_width) for each in attention_layers(built())]
    assert found == [(f"blocks.{n}.attn", "self", 4, 4) for n in range(2)]


def test_the_paper_counts_of_vit_b_16() -> None:
    """Table 1 of arXiv 2503.18337: 1,728; the model that its code took from timm."""
    import timm

    with torch.device("meta"):
        model = timm.create_model("vit_base_patch16_224")
    assert sum(layer.heads**2 for layer in attention_layers(model)) == 1728


@BOTH
@pytest.mark.parametrize("options", [{}, {"qk_norm": True, "scale_attn_norm": True}])
def test_at_zero_it_is_its_own_to_the_last_bit(fused: bool, options: dict[str, Any]) -> None:
    model = built(fused=fused, **options)
    before = model(pictures())
    assert len(add_coefficients(model)) == 2
    assert torch.equal(model(pictures()), before)


@BOTH
def test_output_and_gradients_are_those_of_the_definition(fused: bool, shaken: Any) -> None:
    model = built(fused=fused)
    made = add_coefficients(model)
    shaken(made)
    output = model(pictures())
    output.square().mean().backward()
    slow = built()
    alphas = [each.alpha.detach().clone().requires_grad_() for each in made.values()]
    for block, alpha in zip(slow.blocks, alphas, strict=True):
        block.attn = WrittenOut(block.attn, alpha)
    wanted = slow(pictures())
    wanted.square().mean().backward()
    torch.testing.assert_close(output, wanted)
    for each, alpha in zip(made.values(), alphas, strict=True):
        torch.testing.assert_close(each.alpha.grad, alpha.grad)
    for block, other in zip(model.blocks, slow.blocks, strict=True):
        torch.testing.assert_close(block.attn.qkv.weight.grad, other.attn.own.qkv.weight.grad)


class WrittenOut(nn.Module):
    """timm's attention with I + alpha, head by head."""

    def __init__(self, own: Any, alpha: Tensor) -> None:
        super().__init__()
        self.own = own
        self.alpha = alpha

    def forward(self, x: Tensor, **_: Any) -> Tensor:
        own, mixing = self.own, torch.eye(4, dtype=x.dtype) + self.alpha
        parts = own.qkv(x).chunk(3, dim=-1)
        query, key, value = ([each[..., 4 * h : 4 * h + 4] for h in range(4)] for each in parts)
        maps = [(query[h] @ key[h].mT / 2).softmax(-1) for h in range(4)]
        heads = [sum(mixing[h, i] * maps[i] for i in range(4)) @ value[h] for h in range(4)]
        return own.proj(torch.cat(heads, dim=-1))


@BOTH
@pytest.mark.parametrize("causal", [True, False])
def test_masks_hold(fused: bool, causal: bool, shaken: Any) -> None:
    """A token that may not be seen changes nothing: causal by its flag, or any mask."""
    layer = built(fused=fused).blocks[0].attn
    shaken(add_coefficients(layer))
    x = torch.randn(1, 5, 16, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    changed = x.clone()
    changed[:, -1] += 1
    allowed = {"is_causal": True} if causal else {"attn_mask": torch.ones(5, 5, dtype=torch.bool).tril()}
    first, second = layer(x, **allowed), layer(changed, **allowed)
    assert torch.equal(first[:, :-1], second[:, :-1])
    assert not torch.allclose(first[:, -1], second[:, -1])


def test_dropout_leaves_maps_out_before_they_are_mixed(shaken: Any) -> None:
    model = built(attn_drop_rate=0.5).train()
    shaken(add_coefficients(model))
    outputs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outputs.append(model(pictures()))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.allclose(outputs[0], outputs[2])


def test_removed_without_a_trace(shaken: Any) -> None:
    model = built()
    before, names = model(pictures()), [type(module) for module in model.modules()]
    shaken(add_coefficients(model))
    assert not torch.allclose(model(pictures()), before)
    remove_coefficients(model)
    assert [type(module) for module in model.modules()] == names
    assert torch.equal(model(pictures()), before)


def test_saved_loaded_and_copied_beside_a_lora(tmp_path: Any, shaken: Any) -> None:
    """PEFT around it, as researchers of few-shot classification have it."""
    from peft import LoraConfig, get_peft_model

    def adapted() -> Any:
        torch.manual_seed(0)
        return get_peft_model(built(), LoraConfig(r=2, target_modules=["qkv"])).eval()

    model = adapted()
    made = add_coefficients(model)
    shaken(made)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert all("lora" in name or "subspace_coefficients.alpha" in name for name in trained)
    output = model(pictures())
    assert torch.equal(copy.deepcopy(model)(pictures()), output)
    save_coefficients(model, tmp_path)
    fresh = adapted()
    assert load_coefficients(fresh, tmp_path).keys() == coefficients_of(model).keys()
    torch.testing.assert_close(fresh(pictures()), output, atol=1e-6, rtol=0)  # a file has float32
