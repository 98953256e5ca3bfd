"""Several adapters in one UNet: the sum of what each changes, in any order, and out again without a trace."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from coeffdream.adapters.files import load_adapter, save_adapter
from coeffdream.adapters.install import install, spec_for
from coeffdream.backbones.fingerprint import architecture_of
from coeffdream.config import TrainConfig
from coeffdream.errors import AdapterError
from coeffdream.generation.together import Learned, Share, put_together, taken_out
from coeffdream.interop.changes import Change, LowRank
from coeffdream.interop.read import OtherAdapter


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
    drawn = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    added = {
        "text_embeds": drawn.pop("text_embeds"),
        "time_ids": torch.tensor([[32.0, 32, 0, 0, 32, 32]] * 2),
    }
    return unet(**drawn, timestep=torch.tensor([1, 500]), added_cond_kwargs=added).sample


@pytest.fixture
def saved(loaded, tmp_path):
    """The folder of an adapter of the given method, moved away from its start."""

    def made(method: str, seed: int, targets: str = "all.q,cross.v") -> Path:
        unet = copy.deepcopy(loaded)
        config = TrainConfig(method=method, lora_targets=targets)  # type: ignore[arg-type]
        adapter = install(unet, spec_for(config, unet))
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in adapter.trainable.values():
                parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
        folder = tmp_path / f"{method}-{seed}"
        save_adapter(adapter, folder, architecture_of(loaded))
        return folder

    return made


def learned(unet, folder: Path) -> Learned:
    return taken_out(load_adapter(unet, folder, architecture_of(unet)), folder)


def by_hand(loaded, weighted: list[tuple[Path, float, float]]):
    """The definition: every matrix and every alpha' written out. A UNet with the sums in place."""
    from safetensors.torch import load_file

    unet = copy.deepcopy(loaded)
    mixing = install(unet, spec_for(TrainConfig(method="coeff"), unet))
    for alpha in mixing.alpha.values():
        alpha.data.zero_()
    for folder, lora, strength in weighted:
        tensors = {
            key.removeprefix("unet."): value
            for key, value in load_file(folder / "pytorch_lora_weights.safetensors").items()
        }
        for path in {key.partition(".lora_")[0] for key in tensors}:
            before = loaded.get_submodule(path).weight
            after = before + tensors[f"{path}.lora_B.weight"] @ tensors[f"{path}.lora_A.weight"]
            if (magnitude := tensors.get(f"{path}.lora_magnitude_vector")) is not None:
                after = magnitude[:, None] * after / after.norm(dim=1, keepdim=True)
            unet.get_submodule(path).weight.data += lora * (after - before)
        if (folder / "coeff_weights.safetensors").exists():
            for key, value in load_file(folder / "coeff_weights.safetensors").items():
                mixing.alpha[key.removesuffix(".alpha")].data += strength * value
    return unet


@pytest.mark.parametrize("methods", [("coeff-lora", "coeff-dora"), ("lora", "coeff-lora"), ("dora", "dora")])
def test_the_sum_of_what_each_changes(loaded, unet, saved, methods):
    """Against matrices and alphas added by hand: other weights, other targets, LoRA and DoRA on one module."""
    one = saved(methods[0], 1)
    other = saved(methods[1], 2, "all.k,all.q")
    weights = [(0.9, 0.8), (-0.6, 1.3)]
    base = predict(unet)
    shares = [Share(learned(unet, each), *weight) for each, weight in zip((one, other), weights, strict=True)]
    put_together({"unet": unet}, shares)
    wanted = predict(by_hand(loaded, [(one, *weights[0]), (other, *weights[1])]))
    found = predict(unet)
    assert (found - wanted).abs().max() < 1e-5 * wanted.abs().max()
    assert (found - base).abs().max() > 0.01 * wanted.abs().max()


def test_the_order_changes_no_bit(unet, saved):
    """Three runs of which two share modules, and another tool's beside them; put on in every order."""
    from itertools import permutations

    folders = [saved("coeff-lora", 1), saved("coeff-dora", 2), saved("lora", 3)]
    shares = [
        Share(learned(unet, each), weight, weight)
        for each, weight in zip(folders, (1.0, 0.7, 0.3), strict=True)
    ]
    path = next(path for path, _ in unet.named_modules() if path.endswith("attn1.to_q"))
    width = unet.get_submodule(path).weight.shape[0]
    peer = OtherAdapter(
        Path("x"), "5", {"unet": {path: Change(LowRank(torch.ones(1, width), torch.ones(width, 1)))}}, {}
    )
    drawn = []
    for ordered in permutations(shares):
        together = put_together({"unet": unet}, ordered, [(peer, 0.1)])
        drawn.append(predict(unet))
        together.uninstall()
    assert len(drawn) == 6
    assert all(torch.equal(each, drawn[0]) for each in drawn)


@pytest.mark.parametrize(("method", "nearly"), [("coeff-lora", 0.0), ("coeff-dora", 1e-5)])
def test_the_others_at_weight_0_leave_one_as_it_is_alone(unet, saved, method, nearly):
    """To the last bit; DoRA within the rounding by which PEFT's formula differs from W' - W."""
    one, other = saved(method, 1), saved("coeff-dora", 2)
    adapter = load_adapter(unet, one, architecture_of(unet))
    alone = predict(unet)
    adapter.uninstall()
    shares = [Share(learned(unet, one), 1.0, 1.0), Share(learned(unet, other), 0.0, 0.0)]
    put_together({"unet": unet}, shares)
    assert (predict(unet) - alone).abs().max() <= nearly * alone.abs().max()


def test_no_trace_is_left(unet, saved):
    """Reading what was learned, putting it on and taking it out: names, processors and output are as before."""
    base, names, processors = predict(unet), list(unet.state_dict()), dict(unet.attn_processors)
    shares = [Share(learned(unet, saved("coeff-dora", seed)), 1.0, 1.0) for seed in (1, 2)]
    assert torch.equal(predict(unet), base)
    together = put_together({"unet": unet}, shares)
    assert not torch.equal(predict(unet), base)
    together.uninstall()
    assert torch.equal(predict(unet), base)
    assert list(unet.state_dict()) == names
    assert all(unet.attn_processors[name] is each for name, each in processors.items())


def test_nothing_is_put_on_where_it_does_not_fit(unet, saved):
    """The LoRAs go again when the head mixing cannot be installed."""
    base = predict(unet)
    one = learned(unet, saved("coeff-lora", 1))
    stray = Learned("9", None, {"nowhere": torch.zeros(4, 4)})
    with pytest.raises(AdapterError, match="nowhere"):
        put_together({"unet": unet}, [Share(one, 1.0, 1.0), Share(stray, 1.0, 1.0)])
    assert torch.equal(predict(unet), base)


def test_it_notices_what_takes_a_part_out_of_force(unet, saved):
    """A processor replaced, or a layer that the sum was put on."""
    from diffusers.models.attention_processor import AttnProcessor2_0

    shares = [Share(learned(unet, saved("coeff-lora", seed)), 1.0, 1.0) for seed in (1, 2)]
    together = put_together({"unet": unet}, shares)
    together.check_in_force()
    path = next(path for path, _ in unet.named_modules() if path.endswith("attn1.to_q"))
    parent, layer = unet.get_submodule(path.removesuffix(".to_q")), unet.get_submodule(path)
    parent.to_q = copy.deepcopy(layer)
    with pytest.raises(AdapterError, match="several LoRAs"):
        together.check_in_force()
    parent.to_q = layer
    unet.set_attn_processor(AttnProcessor2_0())
    with pytest.raises(AdapterError, match="head mixing"):
        together.check_in_force()
