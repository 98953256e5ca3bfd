"""Coefficients beside any adapter of PEFT: around it, inside it, and saved apart from it."""

from __future__ import annotations

from typing import Any

import peft
import pytest
import torch

from coeffdream import (
    add_coefficients,
    coefficients_of,
    load_coefficients,
    remove_coefficients,
    save_coefficients,
)

from .conftest import built, called

PROJECTIONS = ["q_proj", "v_proj"]
LOW_RANK = {
    "lora": peft.LoraConfig(r=2, target_modules=PROJECTIONS),
    "dora": peft.LoraConfig(r=2, target_modules=PROJECTIONS, use_dora=True),
    "oft": peft.OFTConfig(r=0, oft_block_size=4, target_modules=PROJECTIONS),
    "ia3": peft.IA3Config(target_modules=[*PROJECTIONS], feedforward_modules=[]),
}


@pytest.mark.parametrize("method", list(LOW_RANK))
def test_beside_peft_the_start_is_the_same_and_both_are_trained(method: str) -> None:
    model = peft.get_peft_model(built("bart", "sdpa"), LOW_RANK[method])
    before = called(model, "bart")
    made = add_coefficients(model)
    assert torch.equal(called(model, "bart"), before)
    called(model, "bart").square().mean().backward()
    trained = {path for path, parameter in model.named_parameters() if parameter.requires_grad}
    assert len([path for path in trained if path.endswith(".subspace_coefficients.alpha")]) == len(made) == 6
    assert len(trained) > 6
    assert all(each.alpha.grad is not None and each.alpha.grad.any() for each in made.values())


def test_paths_are_those_of_the_model_inside() -> None:
    plain, wrapped = built("bart", "sdpa"), peft.get_peft_model(built("bart", "sdpa"), LOW_RANK["lora"])
    assert list(add_coefficients(plain)) == list(add_coefficients(wrapped))


def test_inside_peft_they_still_mix_and_can_be_trained(shaken: Any) -> None:
    inside = built("bart", "sdpa")
    made = add_coefficients(inside)
    shaken(made)
    mixed = called(inside, "bart")
    model = peft.get_peft_model(inside, LOW_RANK["lora"])
    assert torch.equal(called(model, "bart"), mixed)
    for each in coefficients_of(model).values():
        each.requires_grad_(True)
    called(model, "bart").square().mean().backward()
    assert all(each.alpha.grad is not None for each in made.values())


def test_both_parts_saved_apart_make_the_same_model(tmp_path: Any, shaken: Any) -> None:
    model = peft.get_peft_model(built("bart", "sdpa"), LOW_RANK["lora"])
    shaken(add_coefficients(model))
    with torch.no_grad():
        for path, parameter in model.named_parameters():
            if "lora_B" in path:
                parameter.copy_(torch.randn_like(parameter).float())  # PEFT saves in the parameter's dtype
    output = called(model, "bart")
    model.save_pretrained(tmp_path)
    save_coefficients(model, tmp_path)
    assert not [name for name in _saved(tmp_path / "adapter_model.safetensors") if "coefficients" in name]

    again = peft.PeftModel.from_pretrained(built("bart", "sdpa"), tmp_path)
    load_coefficients(again, tmp_path)
    torch.testing.assert_close(called(again, "bart"), output, rtol=1e-6, atol=1e-6)


def test_taken_out_of_a_wrapped_model(shaken: Any) -> None:
    model = peft.get_peft_model(built("bart", "sdpa"), LOW_RANK["lora"])
    before = called(model, "bart")
    shaken(add_coefficients(model))
    assert not torch.equal(called(model, "bart"), before)
    remove_coefficients(model)
    assert torch.equal(called(model, "bart"), before)


def _saved(file: Any) -> list[str]:
    from safetensors import safe_open

    with safe_open(file, "pt") as opened:
        return list(opened.keys())
