"""The attention processor against diffusers' own, and against attention written out naively."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from coeffdream.adapters.install import install, spec_for
from coeffdream.adapters.processor import new_processor
from coeffdream.attention import choice, chunked
from coeffdream.attention.checkpointing import checkpoint_keeping_attention
from coeffdream.config import TrainConfig
from coeffdream.errors import AttentionError

CPU = torch.device("cpu")
HEADS = 4
DTYPES = [torch.float16, torch.bfloat16, torch.float32]


class NaiveMixedProcessor:
    """Eq. 9-11 on one attention layer, written out; None for alpha is plain attention."""

    def __init__(self, alpha: torch.Tensor | None = None) -> None:
        self.alpha = alpha

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None):
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        batch, tokens, channels = hidden_states.shape

        def heads(x):
            return x.view(batch, -1, attn.heads, channels // attn.heads).transpose(1, 2)

        query, key, value = (
            heads(attn.to_q(hidden_states)),
            heads(attn.to_k(context)),
            heads(attn.to_v(context)),
        )
        logits = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        if attention_mask is not None:
            logits = logits + attention_mask.view(batch, -1, 1, key.shape[2])
        maps = logits.softmax(-1)
        if self.alpha is not None:
            mixing = torch.eye(attn.heads, dtype=maps.dtype) + self.alpha.to(maps.dtype)
            maps = torch.einsum("hi,binm->bhnm", mixing, maps)
        out = (maps @ value).transpose(1, 2).reshape(batch, tokens, channels)
        return attn.to_out[0](out)


@pytest.fixture
def adapted(unet, teach):
    return teach(install(unet, spec_for(TrainConfig(method="coeff"), unet)))


@pytest.fixture
def naive(unet, adapted):
    """A copy of the same UNet with the same alpha, all written out."""
    other = copy.deepcopy(unet)
    for path, alpha in adapted.alpha.items():
        other.get_submodule(path).set_processor(NaiveMixedProcessor(alpha.detach()))
    return other


def masks() -> dict[str, torch.Tensor]:
    """Which positions and which text tokens may be attended to; one differs per sample."""
    positions = torch.ones(2, 16)
    positions[0, 5:] = 0
    text = torch.ones(2, 77)
    text[:, 9:] = 0
    text[1, 4] = 0
    return {"attention_mask": positions, "encoder_attention_mask": text}


@torch.no_grad()
def test_the_unet_with_coefficients_is_naive_mixed_attention(unet, naive, predict):
    """Eq. 9-11 in every layer, self and cross."""
    torch.testing.assert_close(predict(unet), predict(naive), rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("chosen", [["attention_mask"], ["encoder_attention_mask"], [*masks()]])
def test_masks_reach_the_mixed_maps(unet, naive, predict, chosen):
    """What diffusers passes to mask positions and text tokens is honoured by every head that is mixed in."""
    given = {name: mask for name, mask in masks().items() if name in chosen}
    masked = predict(unet, **given)
    torch.testing.assert_close(masked, predict(naive, **given), rtol=1e-4, atol=1e-5)
    assert (masked - predict(unet)).abs().max() > 1e-4


@torch.no_grad()
def test_the_lora_scale_of_cross_attention_kwargs_is_set_scales(unet, predict, teach):
    """diffusers' way to weaken a LoRA at run time works on ours, and leaves alpha alone."""
    adapter = teach(install(unet, spec_for(TrainConfig(method="coeff-lora"), unet)))
    at_run_time = predict(unet, cross_attention_kwargs={"scale": 0.5})
    whole = predict(unet)
    adapter.set_scales(lora=0.5)
    torch.testing.assert_close(at_run_time, predict(unet), rtol=1e-5, atol=1e-6)
    assert (at_run_time - whole).abs().max() > 1e-4


@torch.no_grad()
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_alpha_0_is_diffusers_own_processor(unet, dtype):
    """Bit for bit in each precision and layout, with no mask, one of the keys and one that each query has its own row of."""
    from diffusers.models.attention_processor import Attention, AttnProcessor2_0

    generator = torch.Generator().manual_seed(0)
    plain = Attention(query_dim=32, heads=HEADS, dim_head=8, norm_num_groups=4, residual_connection=True)
    plain.to(dtype)
    mixed = copy.deepcopy(plain)
    plain.set_processor(AttnProcessor2_0())
    mixed.set_processor(
        new_processor(HEADS, 0, dropout=0.0, parametrisation="residual", groups=1, seed=0, device=CPU)
    )
    flat = torch.randn(3, 25, 32, generator=generator).to(dtype)
    image = torch.randn(3, 32, 5, 5, generator=generator).to(dtype)
    mask, of_each_query = (
        (torch.rand(3, queries, 25, generator=generator) < 0.5).to(dtype) * -10000 for queries in (1, 25)
    )
    for states in (flat, image):
        for attention_mask in (None, mask, of_each_query):
            assert torch.equal(
                mixed(states, attention_mask=attention_mask), plain(states, attention_mask=attention_mask)
            )


@torch.no_grad()
@pytest.mark.parametrize("parametrisation", ["residual", "direct-identity", "direct-random"])
def test_each_parametrisation_mixes_with_its_matrix(unet, predict, parametrisation):
    """direct-identity begins at the base up to rounding, direct-random elsewhere; both as written out."""
    base = predict(unet)
    adapter = install(unet, spec_for(TrainConfig(method="coeff", parametrisation=parametrisation), unet))
    naive = copy.deepcopy(unet)
    for path, alpha in adapter.alpha.items():
        learned = alpha.detach() - (0 if parametrisation == "residual" else torch.eye(HEADS))
        naive.get_submodule(path).set_processor(NaiveMixedProcessor(learned))
    ours = predict(unet)
    torch.testing.assert_close(ours, predict(naive), rtol=1e-4, atol=1e-5)
    assert torch.allclose(ours, base, rtol=1e-4, atol=1e-5) == (parametrisation != "direct-random")


def gradients(unet, adapter, predict) -> dict[str, torch.Tensor]:
    for parameter in adapter.trainable.values():
        parameter.grad = None
    predict(unet).square().mean().backward()
    return {name: parameter.grad.clone() for name, parameter in adapter.trainable.items()}


@pytest.mark.parametrize("method", ["coeff-lora", "coeff-dora"])
def test_gradient_checkpointing_changes_no_gradient(unet, predict, teach, method):
    """The recomputed forward sees the same dropout mask, so memory is all that changes."""
    adapter = teach(install(unet, spec_for(TrainConfig(method=method, coeff_dropout=0.5), unet)))
    unet.train()
    adapter.set_masks(adapter.drawn_masks(0, 0))
    plain = gradients(unet, adapter, predict)
    unet.enable_gradient_checkpointing(checkpoint_keeping_attention)
    checkpointed = gradients(unet, adapter, predict)
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient, rtol=1e-5, atol=1e-9)
    adapter.set_masks(adapter.drawn_masks(0, 1))
    assert not torch.allclose(gradients(unet, adapter, predict)[name], plain[name], rtol=1e-3)


def test_gradient_checkpointing_runs_no_mixed_attention_twice(unet, predict, teach, monkeypatch):
    """Each layer's mixed attention runs once a step: what it gave is kept, the rest is computed again, and
    the gradients are those without checkpointing."""
    adapter = teach(install(unet, spec_for(TrainConfig(method="coeff-lora"), unet)))
    unet.train()
    monkeypatch.setattr(choice, "REFERENCE_MAP_BYTES", 0)
    monkeypatch.setattr(choice, "_chosen", {})
    plain = gradients(unet, adapter, predict)
    calls = []
    kernel = chunked.forward
    monkeypatch.setattr(chunked, "forward", lambda *inputs: calls.append(1) or kernel(*inputs))
    unet.enable_gradient_checkpointing(checkpoint_keeping_attention)
    checkpointed = gradients(unet, adapter, predict)
    assert len(calls) == len(adapter.processors)
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient, rtol=1e-5, atol=1e-9)


def test_gradients_of_alpha_are_those_of_the_naive_attention(unet, adapted, predict):
    """Autograd through the written-out form is the oracle."""
    ours = gradients(unet, adapted, predict)
    naive = copy.deepcopy(unet)
    alphas = {}
    for path, alpha in adapted.alpha.items():
        alphas[path] = alpha.detach().clone().requires_grad_(True)
        naive.get_submodule(path).set_processor(NaiveMixedProcessor(alphas[path]))
    predict(naive).square().mean().backward()
    for path, alpha in alphas.items():
        torch.testing.assert_close(ours[f"{path}.alpha"], alpha.grad, rtol=1e-3, atol=1e-7)


def test_image_prompts_are_refused(unet, adapted):
    """diffusers passes an IP-Adapter's images as a tuple beside the text."""
    layer = unet.get_submodule(adapted.spec.alpha[1])
    text = torch.zeros(1, 77, 32)
    with pytest.raises(AttentionError, match="unload the IP-Adapter") as caught:
        layer(torch.zeros(1, 16, 32), encoder_hidden_states=(text, [text]))
    assert "\n" not in str(caught.value)


def test_the_coefficients_follow_the_module(unet, adapted):
    """`to`, `train` and `eval` of the UNet reach them, for they are its submodules."""
    processors = list(adapted.processors.values())
    unet.train()
    assert all(processor.coefficients.training for processor in processors)
    unet.eval()
    assert not any(processor.coefficients.training for processor in processors)
    assert all(isinstance(unet.get_submodule(path).processor, nn.Module) for path in adapted.spec.alpha)
