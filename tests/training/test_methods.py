"""Every method that PEFT can put into the UNet, and our own two, alone and beside alpha: in, trained, kept, gone on, out."""

from __future__ import annotations

import copy
from enum import Enum
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft import mapping
from torch import Tensor

from coeffdream.adapters.files import load_adapter, save_adapter
from coeffdream.adapters.install import install, spec_for
from coeffdream.adapters.other import check_method
from coeffdream.adapters.peft_types import FAILING, method_names
from coeffdream.backbones.fingerprint import architecture_of
from coeffdream.config import TrainConfig
from coeffdream.errors import AdapterError, ConfigError
from coeffdream.methods import LOW_RANK, OURS
from coeffdream.records.run import COEFF_FILE
from coeffdream.training.checkpoint import TrainingState, restore_checkpoint, save_checkpoint
from coeffdream.training.optimizer import new_optimizer

# BOFT has a kernel to be compiled, and does without; torch says once that FRoD's sparse matrices are not checked; BEFT
# cannot be merged where there is no bias.
QUIET = "Failed to load the CUDA|Setting boft_n_butterfly_factor|Sparse invariant checks are|Detected that the base layer"
pytestmark = pytest.mark.filterwarnings(f"ignore:({QUIET}):UserWarning")

# PEFT's defaults are for layers of thousands of channels; these have 32.
SMALL = {
    "c3a": ["block_size=8"],
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
# PEFT chooses their ranks anew in every step.
CALLED_IN_EVERY_STEP = {"adalora"}
NAMES = [*OURS, *(name for name in method_names() if name not in {*LOW_RANK, *CALLED_IN_EVERY_STEP})]
WITH_AND_WITHOUT = pytest.mark.parametrize("before", ["", "coeff-"], ids=["alone", "coeff"])


@pytest.fixture(scope="module")
def untouched(tiny_base: Path) -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel.from_pretrained(tiny_base / "unet").requires_grad_(False).eval()


def config_of(method: str) -> TrainConfig:
    return TrainConfig(method=method, method_option=SMALL.get(method.removeprefix("coeff-"), []), lr=1e-2)


def installed(untouched: Any, method: str) -> TrainingState:
    unet, config = copy.deepcopy(untouched), config_of(method)
    adapter = install(unet, spec_for(config, unet), seed=3)
    return TrainingState(adapter, new_optimizer(adapter, config), torch.amp.GradScaler("cpu", enabled=False))


def says(unet: Any) -> Tensor:
    """The prediction for fixed inputs, [2, 4, 8, 8]."""
    drawn = torch.Generator().manual_seed(0)
    shapes = {"sample": (2, 4, 8, 8), "encoder_hidden_states": (2, 77, 32), "text_embeds": (2, 16)}
    inputs = {name: torch.randn(shape, generator=drawn) for name, shape in shapes.items()}
    sizes = torch.tensor([[32.0, 32, 0, 0, 32, 32]] * 2)
    added = {"text_embeds": inputs.pop("text_embeds"), "time_ids": sizes}
    return unet(**inputs, timestep=torch.tensor([1, 500]), added_cond_kwargs=added).sample


def train(state: TrainingState, steps: int) -> list[float]:
    losses = []
    unet = state.adapter.unet.train()
    for _ in range(steps):
        state.adapter.draw_dropout(0, state.step)
        state.optimizer.zero_grad()
        loss = (says(unet) - 1).square().mean()
        loss.backward()
        state.optimizer.step()
        state.step += 1
        losses.append(loss.item())
    unet.eval()
    return losses


@WITH_AND_WITHOUT
@pytest.mark.parametrize("name", NAMES)
def test_a_method_in_the_unet(name: str, before: str, untouched: Any, tmp_path: Path) -> None:
    method, base = before + name, says(untouched)
    architecture = architecture_of(untouched)
    state = installed(untouched, method)
    adapter, unet = state.adapter, state.adapter.unet
    with torch.no_grad():
        start = says(unet)
    if name not in STARTS_ELSEWHERE:
        torch.testing.assert_close(start, base, rtol=1e-5, atol=2e-6)

    # Trained is what is declared, all of it, and nothing else.
    wanting = {id(each) for each in unet.parameters() if each.requires_grad}
    assert wanting == {id(each) for each in adapter.trainable.values()}
    assert {each.dtype for each in adapter.trainable.values()} == {torch.float32}
    assert len(adapter.alpha) == (8 if before else 0)
    train(state, 2)
    assert all(each.grad is not None for each in adapter.trainable.values())
    assert all(each.grad is None for each in unet.parameters() if not each.requires_grad)

    # A run that went on from its checkpoint is the run that was never stopped, bit for bit.
    checkpoint = save_checkpoint(tmp_path / "checkpoints", state, architecture)
    losses = train(state, 2)
    resumed = installed(untouched, method)
    restore_checkpoint(checkpoint, resumed, architecture)
    assert train(resumed, 2) == losses
    for key, value in adapter.trainable.items():
        assert torch.equal(value, resumed.adapter.trainable[key]), key

    # What is saved is what was learned.
    with torch.no_grad():
        learned = says(unet)
    assert (learned - start).abs().max() > 1e-4
    save_adapter(adapter, tmp_path / "adapter", architecture)
    other = copy.deepcopy(untouched)
    loaded = load_adapter(other, tmp_path / "adapter", architecture)
    assert loaded.spec.method == method
    with torch.no_grad():
        assert torch.equal(says(other), learned)

    loaded.uninstall()
    assert list(other.state_dict()) == list(untouched.state_dict())
    for key, value in untouched.state_dict().items():
        assert torch.equal(other.state_dict()[key], value), key
    modules = {path: type(module) for path, module in untouched.named_modules()}
    assert {path: type(module) for path, module in other.named_modules()} == modules
    assert not any(each.requires_grad for each in other.parameters())
    assert not hasattr(other, "peft_config")
    with torch.no_grad():
        assert torch.equal(says(other), base)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in OURS])
def test_peft_reads_what_was_saved(name: str, untouched: Any, tmp_path: Path) -> None:
    """PEFT's own layout: without coeffdream, PEFT alone draws the same."""
    state = installed(untouched, name)
    train(state, 1)
    save_adapter(state.adapter, tmp_path, "a")
    with torch.no_grad():
        learned = says(state.adapter.unet)
        again = peft.PeftModel.from_pretrained(copy.deepcopy(untouched), tmp_path).eval()
        torch.testing.assert_close(says(again), learned, rtol=1e-5, atol=1e-6)
