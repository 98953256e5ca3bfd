"""The files we write, in the hands of the tools they are for: the same UNet output as ours."""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path

import pytest
import torch

from coeffdream.interop.changes import Change, LowRank, Magnitude, nearest_low_rank
from coeffdream.interop.metadata import tensors_sha256
from coeffdream.interop.names import kohya_name, sgm_blocks
from coeffdream.interop.write import changes_of, write_diffusers, write_kohya

spec = importlib.util.spec_from_file_location("loaders", Path(__file__).with_name("loaders.py"))
loaders = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
spec.loader.exec_module(loaders)  # type: ignore[union-attr]

ALL = "all.q,all.k,all.v,all.out"


@pytest.fixture
def written(unet, toy_unet, learned_on, predict, about, tmp_path):
    """What the UNet predicts with an adapter, and the adapter's kohya file."""

    def call(method: str, targets: str = ALL, rank: int = 2) -> tuple[torch.Tensor, Path]:
        adapter = learned_on(unet, method, targets, rank)
        file = tmp_path / "cat.safetensors"
        write_kohya(file, changes_of(adapter.lora), unet, about)
        return predict(unet), file

    return call


@torch.no_grad()
@pytest.mark.parametrize("method", ["lora", "dora"])
def test_comfyui_computes_what_we_compute(written, toy_unet, predict, read_file, method):
    """Its formulas, on every weight that the file names: 1e-5 of the output, and nothing is left over."""
    ours, file = written(method)
    tensors, _ = read_file(file)
    theirs = copy.deepcopy(toy_unet)
    blocks, used = sgm_blocks(theirs), set()
    for path, module in theirs.named_modules():
        if isinstance(module, torch.nn.Linear) and ".attn" in path:
            name = kohya_name("unet", path, blocks)
            module.weight.copy_(loaders.comfy_weight(module.weight, name, tensors))
            used |= {key for key in tensors if key.startswith(name + ".")}
    assert used == set(tensors)
    assert (predict(theirs) - ours).abs().max() <= 1e-5 * ours.abs().max()
    assert (ours - predict(toy_unet)).abs().max() > 1e-2 * ours.abs().max()


@torch.no_grad()
@pytest.mark.parametrize("wrong", ["the trained magnitude", "none"])
def test_other_dora_scales_would_be_wrong(written, unet, toy_unet, predict, read_file, wrong):
    """What is written is not a matter of taste: the raw magnitude, or none, misses by more than a tenth."""
    ours, file = written("dora")
    tensors, _ = read_file(file)
    theirs = copy.deepcopy(toy_unet)
    blocks = sgm_blocks(theirs)
    for path, module in theirs.named_modules():
        if isinstance(module, torch.nn.Linear) and ".attn" in path:
            name = kohya_name("unet", path, blocks)
            raw = unet.get_submodule(path).lora_magnitude_vector["default"].weight
            given = {**tensors, f"{name}.dora_scale": raw[:, None]}
            if wrong == "none":
                del given[f"{name}.dora_scale"]
            module.weight.copy_(loaders.comfy_weight(module.weight, name, given))
    untouched = predict(toy_unet)
    assert (predict(theirs) - ours).norm() > 0.1 * (ours - untouched).norm()


@pytest.fixture
def toy_pipeline(unet):
    """diffusers' pipeline over the toybox, without our hands in it."""
    from diffusers import StableDiffusionXLPipeline

    from coeffdream.toybox.paths import WEIGHTS

    return StableDiffusionXLPipeline.from_pretrained(WEIGHTS, add_watermarker=False)


def test_diffusers_reads_our_kohya_file(written, toy_pipeline, predict):
    """load_lora_weights by its own conversion of kohya's names."""
    ours, file = written("lora")
    toy_pipeline.load_lora_weights(file)
    assert (predict(toy_pipeline.unet) - ours).abs().max() <= 1e-5 * ours.abs().max()


def test_diffusers_drops_the_magnitudes_of_a_kohya_file(written, toy_pipeline, predict, caplog):
    """Why diffusers is told to take pytorch_lora_weights.safetensors: its kohya reader knows no DoRA, and warns."""
    from diffusers.utils import logging

    ours, file = written("dora")
    logging.enable_propagation()
    try:
        toy_pipeline.load_lora_weights(file)
    finally:
        logging.disable_propagation()
    assert "dora_scale" in caplog.text
    assert (predict(toy_pipeline.unet) - ours).abs().max() > 1e-3 * ours.abs().max()


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_diffusers_and_peft_read_our_diffusers_file(
    unet, learned_on, about, toy_pipeline, predict, tmp_path, method
):
    """The same changes in the other form, DoRA whole."""
    changes = changes_of(learned_on(unet, method, ALL).lora)
    write_diffusers(tmp_path / "pytorch_lora_weights.safetensors", changes, about)
    toy_pipeline.load_lora_weights(tmp_path)
    ours = predict(unet)
    assert (predict(toy_pipeline.unet) - ours).abs().max() <= 1e-5 * ours.abs().max()


def test_a_diffusers_file_of_several_ranks(unet, toy_unet, about, toy_pipeline, predict, tmp_path):
    """An approximated alpha has one rank in to_out, the run another elsewhere: each at scale 1."""
    from coeffdream.interop.attach import attach
    from coeffdream.interop.read import read_adapter

    generator = torch.Generator().manual_seed(0)
    changes = {}
    for index, path in enumerate(["to_q", "to_v", "to_out.0"]):
        module = f"mid_block.attentions.0.transformer_blocks.0.attn1.{path}"
        out, into = toy_unet.get_submodule(module).weight.shape
        rank = 2 if index < 2 else 7
        down, up = torch.randn(rank, into, generator=generator), torch.randn(out, rank, generator=generator)
        changes[module] = Change(LowRank(0.2 * down, 0.2 * up))
    write_diffusers(tmp_path / "pytorch_lora_weights.safetensors", changes, about)
    toy_pipeline.load_lora_weights(tmp_path)
    theirs = predict(toy_pipeline.unet)
    attach([(read_adapter(tmp_path / "pytorch_lora_weights.safetensors", unet), 1.0)], {"unet": unet})
    assert (predict(unet) - theirs).abs().max() <= 1e-5 * theirs.abs().max()
    assert (theirs - predict(toy_unet)).abs().max() > 1e-2 * theirs.abs().max()


def test_the_metadata_that_other_tools_look_for(written, read_file):
    """A1111 takes a file with metadata for SD 1 unless ss_base_model_version begins with sdxl_."""
    _, file = written("lora", rank=3)
    tensors, said = read_file(file)
    assert said["ss_base_model_version"].startswith("sdxl_")
    assert said["modelspec.architecture"] == "stable-diffusion-xl-v1-base/lora"
    assert said["modelspec.sai_model_spec"] == "1.0.1"
    assert said["modelspec.trigger_phrase"] == "sks cat"
    assert said["ss_network_dim"] == said["ss_network_alpha"] == "3"
    assert said["ss_output_name"] == said["modelspec.title"] == "cat-lora"
    assert said["sshs_model_hash"] == tensors_sha256(tensors)
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
    assert all(tensors[key].item() == 3.0 for key in tensors if key.endswith(".alpha"))


def test_a_file_without_alpha_says_so(unet, learned_on, about, tmp_path, read_file):
    """Whoever opens the file learns that the head mixing is not in it."""
    import dataclasses

    adapter = learned_on(unet, "coeff-lora")
    lacking = dataclasses.replace(about, method="coeff-lora", mixed_layers=len(adapter.alpha))
    changes = changes_of(adapter.lora)
    write_kohya(tmp_path / "kohya.safetensors", changes, unet, lacking)
    write_diffusers(tmp_path / "diffusers.safetensors", changes, lacking)
    assert read_file(tmp_path / "kohya.safetensors")[1]["coeffdream.alpha"] == "missing: 14 layers"
    assert "14 attention layers" in read_file(tmp_path / "kohya.safetensors")[1]["modelspec.description"]
    assert "14 attention layers" in read_file(tmp_path / "diffusers.safetensors")[1]["coeffdream.alpha"]


def test_v_prediction_and_the_thumbnail_are_marked(unet, learned_on, about, tmp_path, read_file):
    import dataclasses

    from PIL import Image

    Image.new("RGB", (900, 300), (10, 200, 30)).save(tmp_path / "step.png")
    marked = dataclasses.replace(
        about, prediction="v_prediction", zero_snr=True, thumbnail=tmp_path / "step.png"
    )
    write_kohya(tmp_path / "cat.safetensors", changes_of(learned_on(unet, "lora").lora), unet, marked)
    said = read_file(tmp_path / "cat.safetensors")[1]
    assert (said["modelspec.prediction_type"], said["ss_zero_terminal_snr"]) == ("v", "True")
    assert said["modelspec.thumbnail"].startswith("data:image/jpeg;base64,")
    assert len(said["modelspec.thumbnail"]) < 20_000


def test_the_nearest_lora_and_its_error():
    """Exact where the rank suffices, and the error is the true one where it does not."""
    generator = torch.Generator().manual_seed(0)
    up, down = torch.randn(24, 3, generator=generator), torch.randn(3, 16, generator=generator)
    same, error = nearest_low_rank(up @ down, 3)
    assert error < 1e-5
    assert torch.allclose(same.delta(), up @ down, atol=1e-4)
    less, error = nearest_low_rank(up @ down, 1)
    assert error == pytest.approx(float((less.delta() - up @ down).norm() / (up @ down).norm()), abs=1e-5)
    assert nearest_low_rank(torch.zeros(4, 4), 1)[1] == 0.0


@pytest.mark.parametrize("axis", ["out", "in"])
def test_a_magnitude_gives_rows_or_columns_their_length(axis):
    """The definition of DoRA, on either axis, for a convolution too."""
    generator = torch.Generator().manual_seed(0)
    for shape in ((6, 5), (6, 5, 3, 3)):
        weight = torch.randn(shape, generator=generator)
        low_rank = LowRank(
            torch.randn(2, *shape[1:], generator=generator),
            torch.randn(6, 2, *(1 for _ in shape[2:]), generator=generator),
        )
        lengths = torch.rand(shape[0 if axis == "out" else 1], generator=generator) + 0.5
        changed = Change(low_rank, Magnitude(lengths, axis)).apply(weight)  # type: ignore[arg-type]
        others = tuple(dim for dim in range(len(shape)) if dim != (0 if axis == "out" else 1))
        assert torch.allclose(changed.pow(2).sum(others).sqrt(), lengths, atol=1e-5)
