"""Adapters of other tools: read from every spelling, and drawn with as the tools themselves do."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from coeffdream.errors import AdapterError
from coeffdream.interop.attach import attach
from coeffdream.interop.changes import Change, LowRank, Magnitude, Whole
from coeffdream.interop.names import kohya_name, sgm_blocks
from coeffdream.interop.read import OtherAdapter, read_adapter
from coeffdream.interop.write import changes_of, write_kohya

Q = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
OUT = "up_blocks.1.attentions.0.transformer_blocks.0.attn2.to_out.0"
FEED = "mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj"
CONV = "down_blocks.0.resnets.0.conv1"
TEXT = ("encoder.layers.1.self_attn.q_proj", "encoder.layers.0.self_attn.out_proj")


def drawn(shape, seed: int = 0, size: float = 0.2) -> torch.Tensor:
    return size * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def factors(module, rank: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """down, up of a module's size."""
    weight = module.weight
    up = (weight.shape[0], rank, *(1 for _ in weight.shape[2:]))
    return drawn((rank, *weight.shape[1:]), seed), drawn(up, seed + 100)


def only(adapter: OtherAdapter) -> Change:
    """The one change of an adapter that has one."""
    [modules] = adapter.changes.values()
    [change] = modules.values()
    return change


def adapter_of(path: str, change: Change, component: str = "unet", sha: str = "0") -> OtherAdapter:
    from pathlib import Path

    return OtherAdapter(Path("x.safetensors"), sha, {component: {path: change}}, {})


@pytest.fixture(scope="module")
def toy_parts():
    """The toybox's pipeline, as diffusers loads it."""
    from diffusers import StableDiffusionXLPipeline

    from coeffdream.toybox.paths import WEIGHTS

    pipeline = StableDiffusionXLPipeline.from_pretrained(WEIGHTS, add_watermarker=False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture
def pipeline(toy_parts):
    """One of its own."""
    return type(toy_parts)(**{name: copy.deepcopy(part) for name, part in toy_parts.components.items()})


def picture(pipeline) -> torch.Tensor:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline(
        "a photo of a sks cat",
        latents=drawn((1, pipeline.unet.config.in_channels, 16, 16), 7, 1.0),
        height=16 * pipeline.vae_scale_factor,
        width=16 * pipeline.vae_scale_factor,
        num_inference_steps=2,
        output_type="pt",
    ).images


def parts_of(pipeline) -> dict:
    return {name: getattr(pipeline, name) for name in ("unet", "text_encoder", "text_encoder_2")}


def lora_tensors(pipeline, spelling: str) -> dict[str, torch.Tensor]:
    """One LoRA of ranks 2 and 3 on UNet and both text encoders, alpha 1, in a tool's spelling.

    One alpha, for diffusers' conversion of kohya's names loses those that differ from the rest (PEFT warns).
    """
    blocks = sgm_blocks(pipeline.unet)
    tensors = {}
    places = [("unet", path) for path in (Q, OUT, FEED)]
    places += [(component, path) for component in ("text_encoder", "text_encoder_2") for path in TEXT]
    for index, (component, path) in enumerate(places):
        model = getattr(pipeline, component)
        module = dict(model.named_modules()).get(path) or model.get_submodule(f"text_model.{path}")
        rank = 2 + index % 2
        down, up = factors(module, rank, index)
        if spelling == "diffusers":
            inner = path if component == "unet" else f"text_model.{path}"
            tensors[f"{component}.{inner}.lora_A.weight"] = down
            tensors[f"{component}.{inner}.lora_B.weight"] = up / rank
            continue
        name = kohya_name(component, path, blocks)
        if spelling == "onetrainer" and component == "unet":  # diffusers' module names, kohya's parts
            name = "lora_unet_" + path.replace(".", "_")
        tensors[f"{name}.lora_down.weight"] = down
        tensors[f"{name}.lora_up.weight"] = up
        tensors[f"{name}.alpha"] = torch.tensor(1.0)
    return tensors


@pytest.mark.parametrize("spelling", ["kohya", "diffusers", "onetrainer"])
def test_the_same_picture_as_in_plain_diffusers(pipeline, toy_parts, tmp_path, spelling):
    """UNet and both text encoders, ranks and alphas of the file's own; removed without a trace."""
    file = tmp_path / "peer.safetensors"
    save_file(lora_tensors(pipeline, spelling), file)
    untouched = picture(pipeline)
    adapter = read_adapter(file, pipeline.unet)
    assert {component: len(changes) for component, changes in adapter.changes.items()} == {
        "unet": 3,
        "text_encoder": 2,
        "text_encoder_2": 2,
    }
    assert (adapter.kind, adapter.rank) == ("lora", 3)
    attachment = attach([(adapter, 1.0)], parts_of(pipeline))
    ours = picture(pipeline)
    attachment.remove()
    assert torch.equal(picture(pipeline), untouched)

    theirs = type(toy_parts)(**{name: copy.deepcopy(part) for name, part in toy_parts.components.items()})
    theirs.load_lora_weights(file)
    assert (ours - picture(theirs)).abs().max() < 1e-4
    assert (ours - untouched).abs().max() > 1e-2


def test_half_the_weight_is_diffusers_half(pipeline, toy_parts, tmp_path):
    save_file(lora_tensors(pipeline, "diffusers"), tmp_path / "peer.safetensors")
    adapter = read_adapter(tmp_path / "peer.safetensors", pipeline.unet)
    attach([(adapter, 0.5)], parts_of(pipeline))
    theirs = type(toy_parts)(**{name: copy.deepcopy(part) for name, part in toy_parts.components.items()})
    theirs.load_lora_weights(tmp_path / "peer.safetensors", adapter_name="peer")
    theirs.set_adapters(["peer"], [0.5])
    assert (picture(pipeline) - picture(theirs)).abs().max() < 1e-4


def test_several_add_up_in_any_order(unet, toy_unet, predict):
    """To the last bit: two of them on one module, LoRA and DoRA."""
    weight = unet.get_submodule(Q).weight
    one = adapter_of(Q, Change(LowRank(*factors(unet.get_submodule(Q), 2, 0))), sha="1")
    lengths = Magnitude(drawn(weight.shape[0], 3, 1.0).abs())
    two = adapter_of(Q, Change(LowRank(*factors(unet.get_submodule(Q), 3, 1)), lengths), sha="2")
    first = attach([(one, 0.7), (two, -0.4)], {"unet": unet})
    ours = predict(unet)
    first.remove()
    attach([(two, -0.4), (one, 0.7)], {"unet": unet})
    assert torch.equal(predict(unet), ours)
    with torch.no_grad():
        patched = copy.deepcopy(toy_unet)
        sum_of = sum(
            share * (next(iter(each.changes["unet"].values())).apply(weight) - weight)
            for each, share in ((one, 0.7), (two, -0.4))
        )
        patched.get_submodule(Q).weight += sum_of
    assert (predict(patched) - ours).abs().max() < 1e-4


@pytest.mark.parametrize("axis", [None, "out", "in"])
@pytest.mark.parametrize("kind", ["low rank", "whole"])
@pytest.mark.parametrize("module", ["linear", "conv", "strided"])
def test_what_is_added_is_what_the_changed_weight_would_do(module, kind, axis):
    """Hooks against the definition, bias and all: W'x + b."""
    layer = {
        "linear": lambda: nn.Linear(7, 5),
        "conv": lambda: nn.Conv2d(7, 5, 3, padding=1),
        "strided": lambda: nn.Conv2d(7, 5, 3, stride=2),
    }[module]()
    x = drawn((2, 9, 7) if module == "linear" else (2, 7, 9, 9), 5, 1.0)
    down, up = factors(layer, 2, 0)
    added = LowRank(down, up, 0.5) if kind == "low rank" else Whole(drawn(layer.weight.shape, 8))
    size = layer.weight.shape[0 if axis == "out" else 1]
    magnitude = None if axis is None else Magnitude(drawn(size, 4, 1.0).abs() + 0.2, axis)  # type: ignore[arg-type]
    change = Change(added, magnitude)
    patched = copy.deepcopy(layer)
    with torch.no_grad():
        patched.weight.copy_(change.apply(layer.weight))
        holder = nn.ModuleDict({"layer": layer})
        attach([(adapter_of("layer", change), 1.0)], {"unet": holder})
        assert torch.allclose(holder["layer"](x), patched(x), atol=1e-5)


def test_our_own_dora_file_comes_back(unet, toy_unet, learned_on, predict, about, tmp_path):
    """Written for ComfyUI's formula, read as such; a trainer's file of the same shape is read as the trainer's."""
    adapter = learned_on(unet, "dora", "all.q,all.out")
    write_kohya(tmp_path / "ours.safetensors", changes_of(adapter.lora), unet, about)
    again = copy.deepcopy(toy_unet)
    attach([(read_adapter(tmp_path / "ours.safetensors", again), 1.0)], {"unet": again})
    assert (predict(again) - predict(unet)).abs().max() < 1e-5 * predict(unet).abs().max()

    down, up = factors(toy_unet.get_submodule(Q), 2, 0)
    name = kohya_name("unet", Q, sgm_blocks(toy_unet))
    tensors = {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}
    weight = toy_unet.get_submodule(Q).weight
    for shape, axis in (((-1, 1), "out"), ((1, -1), "in")):
        size = weight.shape[0 if axis == "out" else 1]
        scale = (drawn(size, 3, 1.0).abs() + 0.1).view(shape)
        save_file({**tensors, f"{name}.dora_scale": scale}, tmp_path / "trainer.safetensors")
        read = only(read_adapter(tmp_path / "trainer.safetensors", toy_unet))
        changed = weight + up @ down
        others = 1 if axis == "out" else 0
        assert torch.allclose(
            read.apply(weight), scale * changed / changed.norm(dim=others, keepdim=True), atol=1e-5
        )


@pytest.mark.parametrize("kind", ["LoraConfig", "DoRA", "LoHaConfig", "LoKrConfig"])
def test_what_peft_saves_is_read_with_its_configuration(unet, toy_unet, predict, tmp_path, kind):
    """adapter_model.safetensors and adapter_config.json as save_pretrained leaves them; alpha is not the rank."""
    import peft

    options = {"LoraConfig": {"lora_alpha": 6}, "DoRA": {"lora_alpha": 6, "use_dora": True}}.get(
        kind, {"alpha": 6}
    )
    targets = [Q, OUT] if kind == "DoRA" else [Q, OUT, CONV]
    config = getattr(peft, "LoraConfig" if kind == "DoRA" else kind)(r=3, target_modules=targets, **options)
    wrapped = peft.get_peft_model(unet, config)
    with torch.no_grad():
        for index, (_, parameter) in enumerate(sorted(wrapped.named_parameters())):
            if parameter.requires_grad:
                parameter += drawn(parameter.shape, index, 0.3)
    wrapped.save_pretrained(tmp_path)
    again = copy.deepcopy(toy_unet)
    adapter = read_adapter(tmp_path / "adapter_model.safetensors", again)
    assert adapter.kind == {"LoraConfig": "lora", "DoRA": "dora"}.get(kind, "other")
    attach([(adapter, 1.0)], {"unet": again})
    theirs = predict(unet)
    assert (predict(again) - theirs).abs().max() < 1e-5 * theirs.abs().max()
    assert (theirs - predict(toy_unet)).abs().max() > 1e-2 * theirs.abs().max()


def test_on_top_of_a_run_of_ours(unet, toy_unet, learned_on, predict):
    """What is added does not depend on what PEFT has wrapped, and our adapter comes out as it went in."""
    names = set(toy_unet.state_dict())
    ours = learned_on(unet, "coeff-dora", "all.q")
    with_ours = predict(unet)
    other = adapter_of(Q, Change(LowRank(*factors(toy_unet.get_submodule(Q), 2, 0))))
    attachment = attach([(other, 1.0)], {"unet": unet})
    assert not torch.equal(predict(unet), with_ours)
    attachment.remove()
    assert torch.equal(predict(unet), with_ours)
    ours.uninstall()
    assert set(unet.state_dict()) == names


LINEAR = f"unet.{Q}"


@pytest.mark.parametrize(
    ("tensors", "metadata", "complaint"),
    [
        ({"lora_unet_double_blocks_0_img_attn_proj.lora_down.weight": (2, 8)}, {}, "for FLUX"),
        (
            {
                "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight": (
                    2,
                    768,
                )
            },
            {},
            "for Stable Diffusion 1",
        ),
        ({"lora_unet_conv_in.lora_down.weight": (2, 4)}, {"ss_base_model_version": "sd_v1"}, "Diffusion 1"),
        ({f"{LINEAR}.lora_A.weight": (2, 5), f"{LINEAR}.lora_B.weight": (128, 2)}, {}, r"\[128, 5\] where"),
        ({f"{LINEAR}.lora_A.weight": (2, 128)}, {}, "down make no LoRA"),
        ({f"{LINEAR}.hada_w1_a": (2, 128)}, {}, "hada_w1_b is missing"),
        ({f"{LINEAR}.oft_R.weight": (2, 128)}, {}, "oft_R.weight is not understood"),
        ({"bundle_emb.sks.clip_l": (1, 64)}, {}, "bundle_emb.sks.clip_l is not understood"),
        ({"unet.nowhere.lora_A.weight": (2, 8)}, {}, "unet.nowhere.lora_A.weight is not understood"),
        ({LINEAR + ".diff": (128, 128)}, {"lora_adapter_metadata": "[1]"}, "configuration of"),
    ],
)
def test_what_cannot_be_used_is_named(toy_unet, tmp_path, tensors, metadata, complaint):
    """One line: which key, which shape, or which model it was made for."""
    file = tmp_path / "peer.safetensors"
    save_file({key: drawn(shape) for key, shape in tensors.items()}, file, metadata)
    with pytest.raises(AdapterError, match=complaint) as raised:
        read_adapter(file, toy_unet)
    assert len(str(raised.value).splitlines()) == 1


def test_values_that_are_no_numbers_are_refused(toy_unet, tmp_path):
    tensors = {f"{LINEAR}.lora_A.weight": drawn((2, 128)), f"{LINEAR}.lora_B.weight": drawn((128, 2))}
    tensors[f"{LINEAR}.lora_B.weight"][0, 0] = float("nan")
    save_file(tensors, tmp_path / "peer.safetensors")
    with pytest.raises(AdapterError, match="not finite"):
        read_adapter(tmp_path / "peer.safetensors", toy_unet)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("peer.pt", b"\x80\x04", "pickled"),
        ("peer.safetensors", b"nonsense", "readable"),
        ("none.safetensors", None, "exist"),
    ],
)
def test_files_that_are_no_adapter(toy_unet, tmp_path, name, content, complaint):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(AdapterError, match=complaint):
        read_adapter(tmp_path / name, toy_unet)


def test_a_damaged_configuration_beside_a_peft_file(toy_unet, tmp_path):
    save_file(
        {f"base_model.model.{Q}.lora_A.weight": drawn((2, 128))}, tmp_path / "adapter_model.safetensors"
    )
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 2})[:-1])
    with pytest.raises(AdapterError, match="configuration"):
        read_adapter(tmp_path / "adapter_model.safetensors", toy_unet)
