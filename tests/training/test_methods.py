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
from coeffdream.config import TrainConfig
from coeffdream.errors import AdapterError, ConfigError
from coeffdream.methods import LOW_RANK, OURS
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
def untouched() -> Any:
    """An SDXL-shaped UNet of the fewest layers: four of attention, of 4 heads."""
    from diffusers import UNet2DConditionModel

    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(32,),
            layers_per_block=1,
            norm_num_groups=4,
            down_block_types=("CrossAttnDownBlock2D",),
            up_block_types=("UpBlock2D",),
            mid_block_type="UNetMidBlock2DCrossAttn",
            attention_head_dim=4,
            transformer_layers_per_block=1,
            cross_attention_dim=32,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=16 + 6 * 8,
            use_linear_projection=True,
        )
    return made.requires_grad_(False).eval()


def config_of(method: str) -> TrainConfig:
    return TrainConfig(method=method, method_option=SMALL.get(method.removeprefix("coeff-"), []), lr=1e-2)


def installed(unet: Any, method: str) -> TrainingState:
    config = config_of(method)
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
        state.adapter.seed_method(0, state.step)
        state.adapter.set_masks(state.adapter.drawn_masks(0, state.step))
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
    unet, method, architecture = copy.deepcopy(untouched), before + name, "that of this test"
    state = installed(unet, method)
    adapter = state.adapter
    with torch.no_grad():
        base, start = says(untouched), says(unet)
    if name not in STARTS_ELSEWHERE:
        torch.testing.assert_close(start, base, rtol=1e-5, atol=2e-6)

    # Trained is what is declared, all of it, and nothing else.
    declared = adapter.trainable
    wanting = {id(each) for each in unet.parameters() if each.requires_grad}
    assert wanting == {id(each) for each in declared.values()}
    assert {each.dtype for each in declared.values()} == {torch.float32}
    assert len(adapter.alpha) == (4 if before else 0)
    train(state, 2)
    assert all(each.grad is not None for each in declared.values())
    assert all(each.grad is None for each in unet.parameters() if not each.requires_grad)
    checkpoint = save_checkpoint(tmp_path / "checkpoints", state, architecture)
    losses = train(state, 2)
    save_adapter(adapter, tmp_path / "adapter", architecture)
    with torch.no_grad():
        learned = says(unet)
    assert (learned - start).abs().max() > 1e-4
    values = {key: value.detach().clone() for key, value in declared.items()}

    adapter.uninstall()
    assert_as_it_was(unet, untouched)
    with torch.no_grad():
        assert torch.equal(says(unet), base)

    # A run that goes on from its checkpoint is the run that was never stopped, bit for bit.
    resumed = installed(unet, method)
    restore_checkpoint(checkpoint, resumed, architecture)
    assert train(resumed, 2) == losses
    assert all(torch.equal(value, values[key]) for key, value in resumed.adapter.trainable.items())
    resumed.adapter.uninstall()

    loaded = load_adapter(unet, tmp_path / "adapter", architecture)
    assert loaded.spec.method == method
    with torch.no_grad():
        assert torch.equal(says(unet), learned)
    loaded.uninstall()
    if not before and name not in OURS:  # PEFT's own layout: without coeffdream, PEFT alone draws the same
        with torch.no_grad():
            pefts = peft.PeftModel.from_pretrained(unet, tmp_path / "adapter").eval()
            torch.testing.assert_close(says(pefts), learned, rtol=1e-5, atol=2e-6)


def assert_as_it_was(unet: Any, untouched: Any) -> None:
    before, after = untouched.state_dict(), unet.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], value) for key, value in before.items())
    modules = {path: type(module) for path, module in untouched.named_modules()}
    assert {path: type(module) for path, module in unet.named_modules()} == modules
    assert not any(each.requires_grad for each in unet.parameters())
    assert not hasattr(unet, "peft_config")


def test_a_method_that_peft_adds_is_there(untouched: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list is PEFT's own: nothing here is edited for a new one."""

    class Later(str, Enum):
        NEW = "BRANDNEW"

    monkeypatch.setitem(mapping.PEFT_TYPE_TO_CONFIG_MAPPING, Later.NEW, peft.LoHaConfig)
    monkeypatch.setitem(mapping.PEFT_TYPE_TO_TUNER_MAPPING, Later.NEW, peft.LoHaModel)
    state = installed(copy.deepcopy(untouched), "coeff-brandnew")
    assert state.adapter.spec.method == "coeff-brandnew"
    assert train(state, 2)


@pytest.mark.parametrize(
    ("method", "options", "said"),
    [
        *((name, [], f"PEFT's {name} cannot be put beside attention here: {why}") for name, why in FAILING.items()),
        ("coeff-adalora", ["total_step=9"], "chooses its ranks anew in every step, from what PEFT keeps in no file"),
        ("adamss", ["use_asa=true"], "chooses its ranks anew"),
        ("coeff-oftt", [], r"no method 'oftt' .*\(did you mean oft\?\)"),
        ("oft", ["oft_blocksize=4"], r"no option 'oft_blocksize=4' \(did you mean oft_block_size\?\)"),
        ("fourierft", ["n_frequency=many"], "n_frequency='many' does not fit"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_is_said_at_once(method: str, options: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check_method(TrainConfig(method=method, method_option=options))


def test_a_method_whose_sizes_do_not_fit_leaves_no_trace(untouched: Any) -> None:
    unet = copy.deepcopy(untouched)
    config = TrainConfig(method="coeff-road", method_option=["group_size=64"])
    with pytest.raises(AdapterError, match=r"PEFT cannot put road into this .*divisible by group_size"):
        install(unet, spec_for(config, unet))
    assert_as_it_was(unet, untouched)


def test_half_precision(untouched: Any) -> None:
    """The base may be bfloat16, what is trained is not; PEFT's ln_tuning cannot do that, and is refused."""
    unet = copy.deepcopy(untouched).to(torch.bfloat16)
    halved = copy.deepcopy(unet)
    for method in ("coeff-full", "coeff-oft"):
        adapter = installed(unet, method).adapter
        assert {each.dtype for each in adapter.trainable.values()} == {torch.float32}
        adapter.uninstall()
    with pytest.raises(AdapterError, match=r"ln_tuning trains in the base's own bfloat16.*--precision fp32"):
        installed(unet, "coeff-ln_tuning")
    assert_as_it_was(unet, halved)


@pytest.mark.parametrize("name", ["full", "bitfit", "loha", "lokr", "shira"])
def test_what_was_learned_fades_where_the_method_has_a_scale(name: str, untouched: Any) -> None:
    unet = copy.deepcopy(untouched)
    state = installed(unet, name)
    train(state, 2)
    with torch.no_grad():
        learned = says(unet)
        state.adapter.set_scales(lora=0.0)
        assert torch.equal(says(unet), says(untouched))
        state.adapter.set_scales(lora=1.0)
        assert torch.equal(says(unet), learned)


def test_a_scale_that_a_method_has_not_is_refused(untouched: Any) -> None:
    adapter = installed(copy.deepcopy(untouched), "coeff-oft").adapter
    adapter.set_scales(alpha=0.5)
    with pytest.raises(ConfigError, match=r"PEFT's oft has no scale, .*--lora-scale 0.5.*leave it out"):
        adapter.set_scales(lora=0.5)
