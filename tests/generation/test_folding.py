"""--fold: what was learned in the weights for the time of drawing, and out of them without a trace."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from coeffdream.adapters.install import install, spec_for
from coeffdream.backbones.base import find_base
from coeffdream.config import TrainConfig
from coeffdream.errors import AdapterError, ConfigError
from coeffdream.generation import folding
from coeffdream.generation.adapted import PutOn
from coeffdream.generation.folding import folded
from coeffdream.generation.forecast import forecast_drawing
from coeffdream.generation.request import GenerateRequest
from coeffdream.interop.attach import attach
from coeffdream.interop.changes import Change, LowRank, Magnitude
from coeffdream.interop.read import OtherAdapter
from coeffdream.metrics.untouched import _counterpart
from coeffdream.records.commands import generate_command

SNOW = "<V> cat in snow"
OWN, OTHER = "mid_block.attentions.0.transformer_blocks.0.attn2.to_q", "down_blocks.0.resnets.0.conv1"
# Of values around 1, in float32: products that are added in another order.
WITHIN = 1e-5


@pytest.fixture(scope="module")
def loaded(tiny_base):
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel.from_pretrained(tiny_base / "unet").requires_grad_(False).eval()


@pytest.fixture
def unet(loaded):
    return copy.deepcopy(loaded)


@torch.no_grad()
def predict(unet) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    shapes = {"sample": (2, 4, 8, 8), "encoder_hidden_states": (2, 7, 32), "text_embeds": (2, 16)}
    drawn = {name: torch.randn(shape, generator=generator).to(unet.dtype) for name, shape in shapes.items()}
    time_ids = torch.tensor([[32.0, 32, 0, 0, 32, 32]] * 2)
    added = {"text_embeds": drawn.pop("text_embeds"), "time_ids": time_ids.to(unet.dtype)}
    return unet(**drawn, timestep=torch.tensor([1, 500]), added_cond_kwargs=added).sample


def put_on(unet, method: str, *others: tuple[OtherAdapter, float]) -> PutOn:
    """An adapter that is away from its start, and others beside it."""
    adapter = install(unet, spec_for(TrainConfig(method=method, lora_targets="all.q,cross.v,all.out"), unet))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in adapter.trainable.values():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return PutOn(adapter, attach(others, {"unet": unet}), False)


def another(unet) -> OtherAdapter:
    """A DoRA on a layer that ours changes too, and a LoRA on a convolution."""
    generator = torch.Generator().manual_seed(2)

    def low_rank(path: str) -> LowRank:
        rows, *columns = unet.get_submodule(path).weight.shape
        down = 0.2 * torch.randn(2, *columns, generator=generator)
        return LowRank(down, torch.randn(rows, 2, *(1 for _ in columns[1:]), generator=generator))

    magnitude = Magnitude(torch.rand(unet.get_submodule(OWN).weight.shape[0], generator=generator) + 0.5)
    changes = {OWN: Change(low_rank(OWN), magnitude), OTHER: Change(low_rank(OTHER))}
    return OtherAdapter(Path("other.safetensors"), "0", {"unet": changes}, {})


@pytest.mark.parametrize("strength", [1.0, 0.5])
@pytest.mark.parametrize("method", ["lora", "dora", "coeff-lora", "coeff-dora"])
def test_the_same_prediction_but_for_rounding(unet, method, strength):
    """Beside another tool's adapters, which are folded with ours, at any strength of either."""
    untouched = predict(unet)
    on = put_on(unet, method, (another(unet), 0.7))
    on.adapter.set_scales(lora=strength, alpha=strength)
    plain = predict(unet)
    with folded(unet, on):
        assert type(unet.get_submodule(OWN)) is torch.nn.Linear
        assert not unet.get_submodule(OTHER)._forward_hooks
        assert (predict(unet) - plain).abs().max() < WITHIN
    assert (plain - untouched).abs().max() > 0.1
    assert torch.equal(predict(unet), plain)


def test_alpha_is_live_in_the_block(unet):
    """It is the one thing that no weight can hold."""
    on = put_on(unet, "coeff-lora")
    with folded(unet, on):
        before = predict(unet)
        for processor in on.adapter.processors.values():
            processor.coefficients.strength = 0.0
        assert (predict(unet) - before).abs().max() > 0.01


@pytest.mark.parametrize("ended", [None, RuntimeError, KeyboardInterrupt])
def test_everything_is_back_bit_for_bit(unet, ended):
    """The very same modules, hooks and values, whatever ended the block; then out, and it is the base."""
    untouched = copy.deepcopy(unet.state_dict())
    on = put_on(unet, "coeff-dora", (another(unet), 1.0))
    modules = dict(unet.named_modules())
    values = copy.deepcopy(unet.state_dict())
    hooks = {path: list(each._forward_hooks.values()) for path, each in modules.items()}
    wanted = {name: each.requires_grad for name, each in unet.named_parameters()}
    try:
        with folded(unet, on):
            assert unet.get_submodule(OWN) is not modules[OWN]
            predict(unet)
            if ended:
                raise ended
    except (RuntimeError, KeyboardInterrupt):
        assert ended
    after = dict(unet.named_modules())
    assert list(after) == list(modules)
    assert all(after[path] is each for path, each in modules.items())
    assert {path: list(each._forward_hooks.values()) for path, each in after.items()} == hooks
    assert {name: each.requires_grad for name, each in unet.named_parameters()} == wanted
    assert all(torch.equal(each, values[name]) for name, each in unet.state_dict().items())
    on.take_off()
    assert all(torch.equal(each, untouched[name]) for name, each in unet.state_dict().items())


def test_in_half_precision_the_sum_is_rounded_once(unet):
    """To the base's dtype, in which W + BA then lies."""
    on = put_on(unet.to(torch.bfloat16), "lora")
    layer = unet.get_submodule(OWN)
    change = on.adapter.lora[f"{OWN}.lora_B.weight"] @ on.adapter.lora[f"{OWN}.lora_A.weight"]
    with folded(unet, on):
        weight = unet.get_submodule(OWN).weight
        assert torch.equal(weight, (layer.base_layer.weight.float() + change).to(torch.bfloat16))


@pytest.mark.parametrize(
    ("dtype", "strength", "told"), [("bfloat16", 0.01, 1), ("bfloat16", 1, 0), ("float32", 0.01, 0)]
)
def test_what_rounding_swallows_is_told(unet, dtype, strength, told):
    """W lies on the grid of its dtype: a change that is much smaller than its steps is gone."""
    on = put_on(unet.to(getattr(torch, dtype)), "lora")
    on.adapter.set_scales(lora=strength)
    heard: list[str] = []
    with folded(unet, on, heard.append):
        pass
    assert len(heard) == told
    assert all("rounded to bfloat16" in line for line in heard)


def test_a_method_that_cannot_be_folded_is_refused(unet, monkeypatch):
    """In one line, with nothing replaced; and so is head mixing alone."""
    on = put_on(unet, "lora")
    modules, merged = dict(unet.named_modules()), folding.merged

    def refuses(adapter, path):
        if path == adapter.spec.modules[-1]:
            raise AdapterError("PEFT cannot merge it")
        return merged(adapter, path)

    monkeypatch.setattr(folding, "merged", refuses)
    with pytest.raises(ConfigError, match=r"--fold: PEFT cannot merge it; leave it out"), folded(unet, on):
        pass
    assert all(each is modules[path] for path, each in unet.named_modules())
    on.take_off()
    with pytest.raises(ConfigError, match="head mixing"), folded(unet, put_on(unet, "coeff")):
        pass


def test_a_folded_set_is_one_of_its_own(run_of, draw_set, pixels):
    """It says so, is the same pictures but for rounding, and no set goes on in the other way."""
    run = run_of()
    plain = draw_set(run, SNOW, images_per_prompt=2)
    made = draw_set(run, SNOW, images_per_prompt=2, fold=True)
    assert made.folder.path != plain.folder.path
    assert made.already_there == 0
    assert (plain.folder.read_set().settings.folded, made.folder.read_set().settings.folded) == (False, True)
    assert np.abs(pixels(made) - pixels(plain)).max() <= 1
    assert draw_set(run, SNOW, images_per_prompt=2, fold=True).already_there == 2
    assert " --fold " in generate_command(run, run.read(), made.folder.read_set())
    assert "--fold" not in generate_command(run, run.read(), plain.folder.read_set())


def test_one_picture_whatever_the_batch(run_of, draw_set, pixels):
    """Of the folded too: the second of a set is that which its seed draws alone."""
    run = run_of()
    whole = pixels(draw_set(run, SNOW, images_per_prompt=2, fold=True))
    alone = pixels(draw_set(run, SNOW, images_per_prompt=1, seed=1, fold=True))
    assert np.abs(alone[0] - whole[1]).max() <= 1


def test_the_untouched_base_needs_none(run_of, draw_set, tmp_path):
    """Its pictures are a floor for folded ones and others alike."""
    run = run_of()
    own = draw_set(run, SNOW, images_per_prompt=1, fold=True, set_name="own")
    base = draw_set(run, SNOW, images_per_prompt=1, no_adapter=True, set_name="floor")
    warned: list[str] = []
    assert _counterpart(run.images, own.folder, own.folder.read_set(), "the floor", warned) == base.folder
    assert not warned


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"no_adapter": True}, "leave it out with --no-adapter"),
        ({"offload": "blocks"}, "leave one of them out"),
        ({"base_precision": "int8"}, "kept in int8 here; leave it out, or add --base-precision auto"),
    ],
)
def test_where_there_is_nothing_to_fold_into(changes, said, run_of, draw_set):
    """One line, before anything is loaded or written."""
    run = run_of()
    with pytest.raises(ConfigError, match=said):
        draw_set(run, SNOW, fold=True, **changes)
    assert not run.images.exists()


def test_the_forecast_counts_what_waits(run_of, tiny_base):
    """The weights that are replaced stay in memory."""
    config, base = run_of("lora").read().config, find_base(str(tiny_base))
    plain, with_fold = (
        {
            each.name: each
            for each in forecast_drawing(GenerateRequest(device="cpu", fold=fold), base, config).phases
        }
        for fold in (False, True)
    )
    waiting = with_fold["draw"].held["folded layers"]
    assert waiting > 0
    assert with_fold["draw"].total - plain["draw"].total == waiting
    assert with_fold["load"].total == plain["load"].total
    with pytest.raises(ConfigError, match="--fold"):
        forecast_drawing(GenerateRequest(device="cpu", fold=True, base_precision="int8"), base, config)
