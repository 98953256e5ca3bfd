"""Our adapter in a diffusers pipeline beside what else people put there: right, or refused loudly.

What is drawn is never something in between: every case either gives what the parts give, or raises.
"""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

import coeffdream
from coeffdream.adapters.files import save_adapter
from coeffdream.adapters.install import install, spec_for
from coeffdream.backbones.fingerprint import architecture_of, sketch_of
from coeffdream.config import TrainConfig
from coeffdream.errors import AdapterError, AttentionError, ConfigError


@pytest.fixture(scope="module")
def tiny_pipeline(tiny_base):
    from diffusers import StableDiffusionXLPipeline

    return StableDiffusionXLPipeline.from_pretrained(tiny_base, add_watermarker=False)


@pytest.fixture
def pipe(tiny_pipeline):
    """One of its own."""
    own = type(tiny_pipeline)(**{**tiny_pipeline.components, "unet": copy.deepcopy(tiny_pipeline.unet)})
    own.set_progress_bar_config(disable=True)
    return own


@pytest.fixture
def adapter_folder(loaded_unet, teach, tmp_path) -> Path:
    """A coeff-lora with something learned in both halves."""
    unet = copy.deepcopy(loaded_unet)
    adapter = teach(install(unet, spec_for(TrainConfig(method="coeff-lora"), unet)))
    save_adapter(adapter, tmp_path / "adapter", architecture_of(loaded_unet))
    return tmp_path / "adapter"


@pytest.fixture
def other_lora(tiny_pipeline, tmp_path) -> Path:
    """A LoRA of someone else, on projections that ours has too and on some that it has not."""
    from safetensors.torch import save_file

    tensors = {}
    for index, (path, module) in enumerate(tiny_pipeline.unet.named_modules()):
        if path.endswith((".attn2.to_q", ".attn1.to_k")):
            generator = torch.Generator().manual_seed(index)
            out, into = module.weight.shape
            tensors[f"unet.{path}.lora_A.weight"] = 0.3 * torch.randn(2, into, generator=generator)
            tensors[f"unet.{path}.lora_B.weight"] = 0.3 * torch.randn(out, 2, generator=generator)
    save_file(tensors, tmp_path / "other.safetensors")
    return tmp_path / "other.safetensors"


def draw(pipe, **more) -> torch.Tensor:
    pipe.set_progress_bar_config(disable=True)
    if "image" not in more:
        more["latents"] = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
        more |= {"height": 32, "width": 32}
    return pipe(
        "a sks cat", num_inference_steps=2, output_type="pt", generator=torch.manual_seed(1), **more
    ).images


def image() -> torch.Tensor:
    return torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(3))


def test_load_and_unload_leave_no_trace(pipe, adapter_folder):
    before, names = draw(pipe), list(pipe.unet.state_dict())
    coeffdream.load(pipe, adapter_folder)
    ours = draw(pipe)
    assert (ours - before).abs().max() > 1e-3
    with pytest.raises(AdapterError, match="carries an adapter"):
        coeffdream.load(pipe, adapter_folder)
    coeffdream.unload(pipe)
    assert torch.equal(draw(pipe), before)
    assert list(pipe.unet.state_dict()) == names
    with pytest.raises(AdapterError, match="nothing to unload"):
        coeffdream.unload(pipe)
    coeffdream.load(pipe, adapter_folder, lora_scale=0.0, alpha_scale=0.0)
    assert torch.allclose(draw(pipe), before, atol=1e-6)


SEVERAL = pytest.mark.filterwarnings(
    "ignore:Already found a `peft_config`:UserWarning"
)  # diffusers' own call

LOUD = {
    "enable_attention_slicing": lambda pipe: pipe.enable_attention_slicing(),
    "set_attn_processor": lambda pipe: pipe.unet.set_attn_processor(_plain()),
    "fuse_qkv_projections": lambda pipe: pipe.fuse_qkv_projections(),
    "unload_lora_weights": lambda pipe: pipe.unload_lora_weights(),
    "disable_lora": lambda pipe: pipe.disable_lora(),
    "delete_adapters": lambda pipe: pipe.delete_adapters("default"),
}


def _plain():
    from diffusers.models.attention_processor import AttnProcessor2_0

    return AttnProcessor2_0()


@pytest.mark.parametrize("call", LOUD)
def test_what_would_drop_a_part_in_silence_is_refused_at_the_next_call(pipe, adapter_folder, call):
    """One line that says what happened and what to do."""
    coeffdream.load(pipe, adapter_folder)
    LOUD[call](pipe)
    with pytest.raises(AdapterError) as raised:
        draw(pipe)
    assert "coeffdream.unload(pipe)" in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


def test_the_default_processors_are_refused_by_diffusers_itself(pipe, adapter_folder):
    coeffdream.load(pipe, adapter_folder)
    with pytest.raises(ValueError, match="set_default_attn_processor"):
        pipe.unet.set_default_attn_processor()


@pytest.mark.parametrize("call", ["unload_lora_weights", "enable_attention_slicing", "disable_lora"])
def test_unload_puts_things_right_afterwards(pipe, adapter_folder, call):
    before = draw(pipe)
    coeffdream.load(pipe, adapter_folder)
    LOUD[call](pipe)
    coeffdream.unload(pipe)
    assert torch.equal(draw(pipe), before)


@SEVERAL
def test_a_second_lora_switches_ours_off_loudly_and_both_draw_when_told(pipe, adapter_folder, other_lora):
    coeffdream.load(pipe, adapter_folder)
    pipe.load_lora_weights(other_lora, adapter_name="other")
    with pytest.raises(AdapterError, match="set_adapters"):
        draw(pipe)
    pipe.set_adapters(["default", "other"])
    both = draw(pipe)
    coeffdream.unload(pipe)
    alone = draw(pipe)
    assert (both - alone).abs().max() > 1e-3
    pipe.unload_lora_weights()
    pipe.load_lora_weights(other_lora)
    assert torch.allclose(draw(pipe), alone, atol=1e-6)


@SEVERAL
def test_a_lora_that_was_there_before_stays_in_force(pipe, adapter_folder, other_lora):
    """LCM and Lightning are loaded so. Either order draws the same, and ours alone comes out again."""
    before = architecture_of(pipe.unet), sketch_of(pipe.unet)
    pipe.load_lora_weights(other_lora, adapter_name="other")
    assert (architecture_of(pipe.unet), sketch_of(pipe.unet)) == before
    alone = draw(pipe)
    coeffdream.load(pipe, adapter_folder)
    both = draw(pipe)
    coeffdream.unload(pipe)
    assert torch.equal(draw(pipe), alone)
    pipe.unload_lora_weights()
    coeffdream.load(pipe, adapter_folder)
    pipe.load_lora_weights(other_lora, adapter_name="other")
    pipe.set_adapters(["default", "other"])
    assert torch.allclose(draw(pipe), both, atol=1e-5)
    assert (both - alone).abs().max() > 1e-3


def effect(pipe, adapter_folder, drawn) -> torch.Tensor:
    """How far our adapter moves what `drawn` draws; the picture without it is the same before and after."""
    before = drawn()
    coeffdream.load(pipe, adapter_folder)
    ours = drawn()
    coeffdream.unload(pipe)
    assert torch.equal(drawn(), before)
    return (ours - before).abs().max()


def test_freeu(pipe, adapter_folder):
    pipe.enable_freeu(s1=0.6, s2=0.4, b1=1.1, b2=1.2)
    assert effect(pipe, adapter_folder, lambda: draw(pipe)) > 1e-3


def test_img2img(pipe, adapter_folder):
    from diffusers import StableDiffusionXLImg2ImgPipeline

    other = StableDiffusionXLImg2ImgPipeline.from_pipe(pipe, requires_aesthetics_score=False)
    assert effect(pipe, adapter_folder, lambda: draw(other, image=image(), strength=0.9)) > 1e-4


def test_inpaint(pipe, adapter_folder):
    from diffusers import StableDiffusionXLInpaintPipeline

    other = StableDiffusionXLInpaintPipeline.from_pipe(pipe, requires_aesthetics_score=False)
    mask = torch.ones(1, 1, 32, 32)
    draws = lambda: draw(other, image=image(), mask_image=mask, strength=0.9, height=32, width=32)  # noqa: E731
    assert effect(pipe, adapter_folder, draws) > 1e-4


def test_controlnet(pipe, adapter_folder):
    from diffusers import ControlNetModel, StableDiffusionXLControlNetPipeline

    control = ControlNetModel.from_unet(pipe.unet, conditioning_embedding_out_channels=(16, 16, 16))
    other = StableDiffusionXLControlNetPipeline.from_pipe(pipe, controlnet=control)
    assert effect(pipe, adapter_folder, lambda: draw(other, image=image(), height=32, width=32)) > 1e-4


def test_a_controlnet_made_from_our_unet_is_refused_or_clean(pipe, adapter_folder):
    """ControlNetModel.from_unet copies weights by name; with ours installed the names are others."""
    from diffusers import ControlNetModel

    coeffdream.load(pipe, adapter_folder)
    with pytest.raises(RuntimeError):
        ControlNetModel.from_unet(pipe.unet, conditioning_embedding_out_channels=(16, 16, 16))


def test_another_scheduler(pipe, adapter_folder):
    from diffusers import DPMSolverMultistepScheduler

    pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
    assert effect(pipe, adapter_folder, lambda: draw(pipe)) > 1e-3


def test_fuse_lora_keeps_alpha(pipe, adapter_folder):
    """The LoRA in the weights, the head mixing as it was: the same picture."""
    coeffdream.load(pipe, adapter_folder)
    ours = draw(pipe)
    pipe.fuse_lora()
    assert torch.allclose(draw(pipe), ours, atol=1e-4)
    pipe.unfuse_lora()
    assert torch.allclose(draw(pipe), ours, atol=1e-4)


def test_pag_is_refused(pipe, adapter_folder):
    """Perturbed attention replaces the processors of its layers while it draws; torch does not let it."""
    from diffusers import StableDiffusionXLPAGPipeline

    other = StableDiffusionXLPAGPipeline.from_pipe(pipe, pag_applied_layers="mid")
    coeffdream.load(pipe, adapter_folder)
    with pytest.raises(TypeError, match="PAG"):
        draw(other, pag_scale=3.0)


def ip_adapter(unet) -> dict[str, dict[str, torch.Tensor]]:
    """The tensors of an IP-Adapter of one image token, for the miniature."""
    keys: dict[str, torch.Tensor] = {}
    number = 1
    for name in unet.attn_processors:
        if not name.endswith("attn1.processor"):
            layer = unet.get_submodule(name.removesuffix(".processor"))
            for part in ("k", "v"):
                keys[f"{number}.to_{part}_ip.weight"] = torch.zeros(layer.inner_dim, 32)
            number += 2
        else:
            continue
    projection = {
        "proj.weight": torch.zeros(4 * 32, 16),
        "proj.bias": torch.zeros(4 * 32),
        "norm.weight": torch.ones(32),
        "norm.bias": torch.zeros(32),
    }
    return {"image_proj": projection, "ip_adapter": keys}


def test_an_ip_adapter_after_ours_is_refused(pipe, adapter_folder):
    coeffdream.load(pipe, adapter_folder)
    with pytest.raises(AttentionError, match=r"coeffdream\.unload"):
        pipe.unet._load_ip_adapter_weights([ip_adapter(pipe.unet)])


def test_ours_after_an_ip_adapter_is_refused_and_leaves_it(pipe, adapter_folder):
    """And the fingerprint of the architecture is the base's all the same."""
    before = architecture_of(pipe.unet)
    pipe.unet._load_ip_adapter_weights([ip_adapter(pipe.unet)])
    assert architecture_of(pipe.unet) == before
    processors = dict(pipe.unet.attn_processors)
    with pytest.raises(AttentionError, match="IP-Adapter"):
        coeffdream.load(pipe, adapter_folder)
    assert pipe.unet.attn_processors == processors


@pytest.fixture
def two_folders(loaded_unet, teach, tmp_path) -> list[Path]:
    """A coeff-lora and a coeff-dora that learned something else."""
    folders = []
    for method, size in (("coeff-lora", 0.3), ("coeff-dora", -0.2)):
        unet = copy.deepcopy(loaded_unet)
        adapter = teach(install(unet, spec_for(TrainConfig(method=method), unet)), size)  # type: ignore[arg-type]
        folders.append(tmp_path / method)
        save_adapter(adapter, folders[-1], architecture_of(loaded_unet))
    return folders


def test_several_runs_together(pipe, two_folders):
    """In either order, at any strength, beside a scale for all; and out again without a trace."""
    one, other = two_folders
    before = draw(pipe)
    coeffdream.load(pipe, {one: 1.0, other: 0.7})
    both = draw(pipe)
    with pytest.raises(AdapterError, match="load several together"):
        coeffdream.load(pipe, one)
    coeffdream.unload(pipe)
    assert torch.equal(draw(pipe), before)
    coeffdream.load(pipe, {str(other): 1.4, str(one): 2.0}, lora_scale=0.5, alpha_scale=0.5)
    assert torch.equal(draw(pipe), both)
    coeffdream.unload(pipe)
    coeffdream.load(pipe, one)
    assert (draw(pipe) - both).abs().max() > 1e-3
    alone = draw(pipe)
    coeffdream.unload(pipe)
    coeffdream.load(pipe, {one: 1.0, other: 0.0})
    assert torch.equal(draw(pipe), alone)


@pytest.mark.parametrize("weights", [{}, {"same": 1.0, "./same": 1.0}, {"same": float("nan")}])
def test_runs_that_cannot_be_loaded_together(pipe, adapter_folder, weights, monkeypatch):
    """None, one of them twice, and a weight that is no number; the pipeline stays free."""
    adapter_folder.rename(adapter_folder.with_name("same"))
    monkeypatch.chdir(adapter_folder.parent)
    with pytest.raises(ConfigError, match="load was given"):
        coeffdream.load(pipe, weights)
    coeffdream.load(pipe, "same")


@SEVERAL
@pytest.mark.parametrize("call", ["enable_attention_slicing", "set_attn_processor", "fuse_qkv_projections"])
def test_several_refuse_what_takes_their_head_mixing(pipe, two_folders, call):
    coeffdream.load(pipe, dict.fromkeys(two_folders, 1.0))
    LOUD[call](pipe)
    with pytest.raises(AdapterError, match=r"coeffdream\.unload\(pipe\)"):
        draw(pipe)


@SEVERAL
def test_several_and_another_lora(pipe, two_folders, other_lora):
    """Loaded after, it adds up with them; loaded before and taken out under them, the next drawing says so."""
    before = draw(pipe)
    coeffdream.load(pipe, dict.fromkeys(two_folders, 1.0))
    both = draw(pipe)
    pipe.load_lora_weights(other_lora, adapter_name="other")
    assert (draw(pipe) - both).abs().max() > 1e-3
    pipe.unload_lora_weights()
    assert torch.equal(draw(pipe), both)
    coeffdream.unload(pipe)
    pipe.load_lora_weights(other_lora, adapter_name="other")
    coeffdream.load(pipe, dict.fromkeys(two_folders, 1.0))
    draw(pipe)
    pipe.unload_lora_weights()
    with pytest.raises(AdapterError, match="several LoRAs"):
        draw(pipe)
    coeffdream.unload(pipe)
    assert torch.equal(draw(pipe), before)
