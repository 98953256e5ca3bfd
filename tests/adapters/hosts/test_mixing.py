"""Mixed heads inside transformers' models: nothing changes at alpha = 0, and Eq. 9-11 hold at any other."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from coeffdream import add_coefficients, coefficients_of
from coeffdream.errors import AttentionError

from .conftest import KINDS, attend_by, built, called

BOTH = pytest.mark.parametrize("attention", ["sdpa", "eager"])
EVERY = pytest.mark.parametrize("name", list(KINDS))


@BOTH
@EVERY
def test_at_zero_the_model_is_its_own_to_the_last_bit(name: str, attention: str) -> None:
    model = built(name, attention)
    before = called(model, name)
    made = add_coefficients(model)
    assert len(made) == KINDS[name].layers
    assert torch.equal(called(model, name), before)


def _definition(mixing: list[Tensor]) -> Any:
    """Attention written out: a softmax per head, their sum by I + alpha, a product with V.

    A module is known by the order of its first use, which is the same in both models.
    """
    used: dict[nn.Module, int] = {}

    def attend(
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        dropout: float = 0.0,
        scaling: float | None = None,
        position_bias: Tensor | None = None,
        **_: Any,
    ) -> tuple[Tensor, None]:
        groups = query.shape[1] // key.shape[1]
        key, value = (
            torch.stack([each[:, h // groups] for h in range(query.shape[1])], 1) for each in (key, value)
        )
        logits = query @ key.mT * (query.shape[-1] ** -0.5 if scaling is None else scaling)
        for added in (attention_mask, position_bias):
            logits = logits if added is None else logits + added
        maps = logits.exp() / logits.exp().sum(-1, keepdim=True)
        number = used.setdefault(module, len(used))
        alpha = mixing[number]
        heads = len(alpha)
        mixed = torch.stack(
            [maps[:, h] + sum(alpha[h, i] * maps[:, i] for i in range(heads)) for h in range(heads)],
            1,
        )
        return (mixed @ value).transpose(1, 2).contiguous(), None

    return attend


@BOTH
@EVERY
def test_output_and_gradients_are_those_of_the_definition(name: str, attention: str, shaken: Any) -> None:
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import eager_mask

    model = built(name, attention)
    made = add_coefficients(model)
    shaken(made)
    order: list[Tensor] = []
    for each in made.values():
        each.register_forward_pre_hook(
            lambda used, _: (
                order.append(used.alpha) if all(used.alpha is not known for known in order) else None
            )
        )
    output = called(model, name)
    output.square().mean().backward()

    slow = built(name, "eager")
    mixing = [alpha.detach().clone().requires_grad_() for alpha in order]
    AttentionInterface.register("written_out", _definition(mixing))
    AttentionMaskInterface.register("written_out", eager_mask)
    attend_by(slow, "written_out")
    wanted = called(slow, name)
    wanted.square().mean().backward()

    torch.testing.assert_close(output, wanted)
    assert len(order) == len(made)
    for alpha, slow_alpha in zip(order, mixing, strict=True):
        torch.testing.assert_close(alpha.grad, slow_alpha.grad)
    slow_grads = {path: parameter.grad for path, parameter in slow.named_parameters()}
    for path, parameter in model.named_parameters():
        if "subspace_coefficients" not in path:
            torch.testing.assert_close(
                parameter.grad, slow_grads[path], msg=lambda m, path=path: f"{path}: {m}"
            )


@BOTH
@pytest.mark.parametrize("name", ["gpt2", "llama, grouped queries", "bart"])
def test_no_token_sees_a_later_one(name: str, attention: str, shaken: Any) -> None:
    """Without a padding mask transformers may give SDPA no mask at all, and rely on its is_causal."""
    model = built(name, attention)
    shaken(add_coefficients(model))
    ids = torch.arange(3, 10)[None]
    changed = ids.clone()
    changed[0, -1] = 20
    key = "decoder_input_ids" if name == "bart" else "input_ids"
    extra = {"input_ids": ids} if name == "bart" else {}
    first, second = (model(**{**extra, key: each}).last_hidden_state[0] for each in (ids, changed))
    assert torch.equal(first[:-1], second[:-1])
    assert not torch.allclose(first[-1], second[-1])


@BOTH
def test_generating_with_a_cache_is_generating_without(attention: str, shaken: Any) -> None:
    model = built("llama, grouped queries", attention)
    shaken(add_coefficients(model))
    ids = torch.arange(3, 10)[None]
    whole = model(input_ids=ids).last_hidden_state
    start = model(input_ids=ids[:, :4], use_cache=True)
    rest = model(input_ids=ids[:, 4:5], past_key_values=start.past_key_values, use_cache=True)
    torch.testing.assert_close(rest.last_hidden_state[:, 0], whole[:, 4])


@pytest.mark.parametrize("name", ["bert", "bart"])
def test_attention_dropout_is_that_of_the_maps(name: str, shaken: Any) -> None:
    """sdpa and eager draw other masks; what both must do is to leave maps out before they are mixed."""
    model = built(name, "sdpa").train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    for part in model.modules():
        if hasattr(part, "dropout"):
            part.dropout = nn.Dropout(0.5) if isinstance(part.dropout, nn.Module) else 0.0
    shaken(add_coefficients(model))
    if name == "bart":
        attended = [m for m in model.modules() if hasattr(m, "subspace_coefficients")]
        for each in attended:
            each.dropout = 0.5
    torch.manual_seed(1)
    first = called(model, name)
    torch.manual_seed(1)
    assert torch.equal(called(model, name), first)
    assert not torch.allclose(called(model, name), first)


def test_dropout_of_alpha_is_drawn_anew_each_forward_and_not_when_evaluated(shaken: Any) -> None:
    model = built("vit", "sdpa")
    shaken(add_coefficients(model, dropout=0.5))
    still = called(model, "vit")
    assert torch.equal(called(model, "vit"), still)
    model.train()
    torch.manual_seed(1)
    first, second = called(model, "vit"), called(model, "vit")
    torch.manual_seed(1)
    again = called(model, "vit")
    assert torch.equal(first, again)
    assert not torch.allclose(first, second)
    kept = next(iter(coefficients_of(model).values())).keep
    assert set(kept.unique().tolist()) <= {0.0, 2.0}


def test_recomputing_a_layer_sees_the_mask_of_its_first_pass(shaken: Any) -> None:
    grads = []
    for recompute in (False, True):
        model = built("vit", "sdpa").train()
        made = add_coefficients(model, dropout=0.5)
        shaken(made)
        if recompute:
            newer = getattr(model, "activation_checkpointing_enable", None)  # transformers 5.20
            (newer or model.gradient_checkpointing_enable)()
        torch.manual_seed(4)
        called(model, "vit").square().mean().backward()
        grads.append([each.alpha.grad for each in made.values()])
    for plain, again in zip(*grads, strict=True):
        torch.testing.assert_close(again, plain)


def test_the_maps_that_are_returned_are_the_mixed_ones(shaken: Any) -> None:
    model = built("vit", "eager")
    before = model(
        pixel_values=KINDS["vit"].inputs()["pixel_values"].double(), output_attentions=True
    ).attentions
    made = add_coefficients(model)
    shaken(made)
    after = model(
        pixel_values=KINDS["vit"].inputs()["pixel_values"].double(), output_attentions=True
    ).attentions
    alpha = next(iter(made.values())).alpha
    mixed = before[0] + torch.einsum("hi,binm->bhnm", alpha, before[0])
    torch.testing.assert_close(after[0], mixed)


def test_half_precision_keeps_alpha_in_float32(shaken: Any) -> None:
    model = built("vit", "sdpa").to(torch.bfloat16)
    made = add_coefficients(model)
    shaken(made)
    assert {each.alpha.dtype for each in made.values()} == {torch.float32}
    inputs = KINDS["vit"].inputs()["pixel_values"].to(torch.bfloat16)
    output = model(pixel_values=inputs).last_hidden_state
    output.float().square().mean().backward()
    assert output.dtype == torch.bfloat16
    assert all(each.alpha.grad is not None for each in made.values())


def test_a_layer_with_other_heads_than_it_said_is_refused() -> None:
    model = built("vit", "sdpa")
    for module in model.modules():
        if hasattr(module, "num_attention_heads"):
            module.num_attention_heads = 2
    add_coefficients(model)
    with pytest.raises(AttentionError, match="attends with 4 heads where it said 2"):
        called(model, "vit")


def test_frozen_zeros_are_told() -> None:
    """PEFT freezes what it did not add: alpha would stay at zero without a word."""
    model = built("vit", "sdpa").train()
    add_coefficients(model)
    model.requires_grad_(False)
    model.embeddings.cls_token.requires_grad_(True)
    with pytest.warns(UserWarning, match="zero and frozen"):
        called(model, "vit")
