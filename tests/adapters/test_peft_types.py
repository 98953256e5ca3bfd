"""Every method of the installed PEFT, alone and beside the coefficients: in, trained, saved, resumed, out again."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers as hf
from torch import Tensor, nn

from coeffdream import (
    add_coefficients,
    coefficients_of,
    load_coefficients,
    remove_coefficients,
    save_coefficients,
)
from coeffdream.adapters.peft_types import FAILING, method_config, method_names, with_method
from coeffdream.errors import AdapterError, ConfigError

# BOFT has a kernel to be compiled, and does without; torch says once that FRoD's sparse matrices are not checked.
QUIET = "Failed to load the CUDA|Setting boft_n_butterfly_factor|Sparse invariant checks are"
pytestmark = pytest.mark.filterwarnings(f"ignore:({QUIET}):UserWarning")

TARGETS = ["q_proj", "v_proj"]
# PEFT's defaults are for layers of thousands of channels; these have 16.
SMALL = {
    "adalora": ["total_step=10"],
    "c3a": ["block_size=4"],
    "fourierft": ["n_frequency=16"],
    "miss": ["r=4"],
    "oft": ["oft_block_size=4"],
    "psoft": ["r=4"],
    "road": ["group_size=4"],
    "shira": ["r=2"],
    "vblora": ["vector_length=4", "num_vectors=16", "topk=2"],
    "waveft": ["n_frequency=16"],
}
# Their papers start at random values, not at the base.
STARTS_ELSEWHERE = {"c3a", "fourierft", "unilora", "vblora", "waveft"}
WITH_AND_WITHOUT = pytest.mark.parametrize("mixed", [False, True], ids=["alone", "coeff"])


def vit() -> nn.Module:
    torch.manual_seed(0)
    sizes = {"image_size": 8, "patch_size": 4, "hidden_size": 16, "num_hidden_layers": 2}
    model = hf.ViTModel(hf.ViTConfig(**sizes, num_attention_heads=4, intermediate_size=24)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3)
    return model


def seen(model: nn.Module) -> Tensor:
    pixels = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    return model(pixel_values=pixels).last_hidden_state


def built(name: str, *, mixed: bool) -> Any:
    torch.manual_seed(2)
    model = with_method(vit(), name, method_config(name, TARGETS, SMALL.get(name, ()))).eval()
    if mixed:
        add_coefficients(model)
    return model


def steps(model: nn.Module, optimizer: torch.optim.Optimizer, count: int) -> None:
    for _ in range(count):
        optimizer.zero_grad()
        (seen(model) - 1).square().mean().backward()
        optimizer.step()


def adam(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam([each for each in model.parameters() if each.requires_grad], lr=1e-2)


@WITH_AND_WITHOUT
@pytest.mark.parametrize("name", method_names())
def test_a_method_of_peft_with_and_without_coefficients(name: str, mixed: bool, tmp_path: Path) -> None:
    model = built(name, mixed=mixed)
    base = seen(vit())
    if name not in STARTS_ELSEWHERE:
        torch.testing.assert_close(seen(model), base, rtol=1e-5, atol=1e-5)

    declared = {path for path, each in model.named_parameters() if each.requires_grad}
    alphas = {path for path in declared if path.endswith("subspace_coefficients.alpha")}
    assert len(alphas) == 2 * mixed
    # What PEFT trains is what it would save, whatever it calls that.
    steps(model, adam(model), 2)
    moved = {path for path, each in model.named_parameters() if each.grad is not None and each.grad.any()}
    assert alphas <= moved <= declared
    assert moved - alphas

    trained = seen(model)
    assert not torch.allclose(trained, base)
    model.save_pretrained(tmp_path)
    again = peft.PeftModel.from_pretrained(vit(), tmp_path).eval()
    if mixed:
        save_coefficients(model, tmp_path)
        load_coefficients(again, tmp_path)
    torch.testing.assert_close(seen(again), trained, rtol=1e-5, atol=1e-5)

    if mixed:
        remove_coefficients(model)
    assert not coefficients_of(model)
    assert torch.equal(seen(model.unload()), base)


@WITH_AND_WITHOUT
@pytest.mark.parametrize("name", method_names())
def test_resuming_is_going_on(name: str, mixed: bool) -> None:
    model = built(name, mixed=mixed)
    optimizer = adam(model)
    steps(model, optimizer, 2)
    values, moments = copy.deepcopy(model.state_dict()), copy.deepcopy(optimizer.state_dict())
    steps(model, optimizer, 2)

    resumed = built(name, mixed=mixed)
    resumed.load_state_dict(values)
    other = adam(resumed)
    other.load_state_dict(moments)
    steps(resumed, other, 2)
    assert torch.equal(seen(resumed), seen(model))


def test_the_list_is_pefts_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A method that a later PEFT brings is there by its name."""
    from enum import Enum

    from peft import mapping

    class Later(str, Enum):
        NEW = "BRANDNEW"

    monkeypatch.setitem(mapping.PEFT_TYPE_TO_CONFIG_MAPPING, Later.NEW, peft.LoraConfig)
    monkeypatch.setitem(mapping.PEFT_TYPE_TO_TUNER_MAPPING, Later.NEW, peft.LoraModel)
    assert "brandnew" in method_names()
    assert method_config("brandnew", TARGETS, ["r=3"]).r == 3


def test_what_is_known_to_fail_is_a_method_of_pefts_that_fails() -> None:
    """Each row of the list is there as long as it is needed: without it the method goes in, and then fails."""
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    for name, reason in FAILING.items():
        kind = {each.value.lower(): each for each in PEFT_TYPE_TO_CONFIG_MAPPING}[name]
        with pytest.raises(Exception, match=r"."):
            seen(peft.get_peft_model(vit(), PEFT_TYPE_TO_CONFIG_MAPPING[kind](target_modules=TARGETS)))
        with pytest.raises(ConfigError, match=f"PEFT's {name} cannot be put beside attention here: {reason}"):
            method_config(name, TARGETS)


def test_dora_is_lora_with_a_magnitude() -> None:
    config = method_config("dora", TARGETS, ["r=2", "lora_alpha=4"])
    assert (config.use_dora, config.r, config.lora_alpha) == (True, 2, 4)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("lorra", [], r"PEFT has no method 'lorra' for linear layers \(did you mean lora\?\); there are ada"),
        ("lora", ["rr=2"], r"lora has no option 'rr=2' \(did you mean r\?\)"),
        ("lora", ["r"], "lora has no option 'r'"),
        ("lora", ["r=two"], "r='two' does not fit"),
        ("lora", ["target_modules=x"], "lora has no option 'target_modules=x'"),
        ("dora", ["use_dora=false"], "dora has no option 'use_dora=false'"),
        ("lora", ["r=two", "q=1"], "2 problems"),
        ("oft", ["r=3", "oft_block_size=3"], "PEFT refuses these options of oft"),
    ],
)
def test_wrong_names_and_options_are_named(name: str, options: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        method_config(name, TARGETS, options)


def test_the_reason_is_pefts_where_a_method_does_not_fit() -> None:
    with pytest.raises(
        AdapterError, match=r"PEFT cannot put lora into this ViTModel \(nothing_here\): Target modules"
    ):
        with_method(vit(), "lora", method_config("lora", ["nothing_here"]))
