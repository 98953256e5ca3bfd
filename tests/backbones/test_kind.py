"""What a base is, by its header or configs: each kind that people download and that is no SDXL base, in one line."""

from __future__ import annotations

import json
import shutil

import pytest

from coeffdream.backbones.base import find_base
from coeffdream.backbones.kind import kind_of_file
from coeffdream.backbones.source import look_at
from coeffdream.errors import BaseModelError

SDXL = {"cross_attention_dim": 2048, "in_channels": 4}
TEXT = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"
FIRST = "model.diffusion_model.input_blocks.0.0.weight"


def unet(width: int = 2048, channels: int = 4) -> dict:
    return {FIRST: (320, channels, 3, 3), TEXT: (640, width)}


VAE = {"first_stage_model.encoder.conv_in.weight": (128, 3, 3, 3)}
ENCODERS = {
    "conditioner.embedders.0.transformer.text_model.final_layer_norm.weight": (768,),
    "conditioner.embedders.1.model.ln_final.weight": (1280,),
}
WHOLE = {**unet(), **VAE, **ENCODERS}

FILES = {
    "a LoRA of kohya's": ({"lora_unet_mid_block.lora_down.weight": (4, 640)}, "is a LoRA"),
    "a LoRA of PEFT's": ({"unet.mid_block.attn.to_q.lora_A.weight": (4, 640)}, "is a LoRA"),
    "a LoHa": ({"lora_unet_mid_block.hada_w1_a": (4, 640)}, "is a LoRA"),
    "a LoRA of FLUX": ({"lora_unet_double_blocks_0_img_attn.lora_up.weight": (4, 4)}, "is a LoRA"),
    "our coefficients": ({"mid_block.attn1.alpha": (10, 10)}, "holds head-mixing coefficients"),
    "an embedding": ({"clip_l": (8, 768), "clip_g": (8, 1280)}, "is a textual-inversion embedding"),
    "a ControlNet": ({"control_model.input_hint_block.0.weight": (16, 3, 3, 3)}, "is a ControlNet"),
    "FLUX": ({"model.diffusion_model.double_blocks.0.img_attn.norm.key_norm.scale": (128,)}, "is FLUX"),
    "Stable Diffusion 3": (
        {"model.diffusion_model.joint_blocks.0.x_block.attn.qkv.bias": (9,)},
        "is Stable Diffusion 3",
    ),
    "another transformer": (
        {"transformer_blocks.0.attn.to_q.weight": (9, 9)},
        "is a transformer, not SDXL's UNet",
    ),
    "Stable Diffusion 1": ({**unet(768), **VAE}, "is Stable Diffusion 1, not SDXL"),
    "Stable Diffusion 1 for inpainting": (unet(768, 9), "is Stable Diffusion 1, for inpainting, not SDXL"),
    "Stable Diffusion 2": ({**unet(1024), **VAE}, "is Stable Diffusion 2, not SDXL"),
    "the refiner": ({**unet(1280), **VAE}, "is SDXL's refiner"),
    "inpainting": ({**WHOLE, **unet(channels=9)}, "is an inpainting model"),
    "editing": ({**WHOLE, **unet(channels=8)}, "is a model for editing pictures"),
    "EDM (playground)": ({**WHOLE, "edm_mean": (4,)}, "is trained on EDM's noise schedule"),
    "EDM (CosXL)": ({**WHOLE, "edm_vpred.sigma_max": ()}, "is trained on EDM's noise schedule"),
    "a UNet alone": (unet(), "is the UNet of an SDXL model alone, without a VAE and its two text encoders"),
    "a UNet without its prefix": (
        {name.removeprefix("model.diffusion_model."): shape for name, shape in unet().items()},
        "is the UNet of an SDXL model alone",
    ),
    "a UNet of diffusers'": (
        {"down_blocks.0.resnets.0.conv1.weight": (9, 9, 3, 3)},
        "is a UNet alone, by diffusers' names",
    ),
    "no VAE": ({**unet(), **ENCODERS}, "is an SDXL checkpoint without a VAE"),
    "no text encoders": ({**unet(), **VAE}, "is an SDXL checkpoint without its two text encoders"),
    "a VAE": ({"decoder.conv_in.weight": (512, 4, 3, 3)}, "is a VAE alone"),
    "nothing known": ({"weight": (3,)}, "is no SDXL checkpoint (it holds weight)"),
    "nothing": ({}, "is no SDXL checkpoint (it holds nothing)"),
}


@pytest.mark.parametrize("what", FILES)
def test_a_file_that_is_no_base(what):
    """Named, with what to do, before a byte of a tensor is read."""
    shapes, told = FILES[what]
    with pytest.raises(BaseModelError) as caught:
        kind_of_file("model.safetensors", shapes, SDXL)
    message = str(caught.value)
    assert message.startswith(f"--base model.safetensors {told}")
    assert "; give " in message
    assert "\n" not in message


def test_files_that_are():
    """Pony, Illustrious and every other fine-tune have SDXL's own tensors; two empty ones say how they predict."""
    assert not kind_of_file("a", WHOLE, SDXL).v_prediction
    said = kind_of_file("a", {**WHOLE, "v_pred": (0,), "ztsnr": (0,)}, SDXL)
    assert (said.v_prediction, said.zero_snr) == (True, True)


@pytest.fixture
def altered(tiny_base, tmp_path):
    """A copy of the miniature with some of its JSON changed: file, changes."""
    folder = tmp_path / "altered"
    shutil.copytree(tiny_base, folder)

    def alter(file: str, **changes):
        path = folder / file
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
        return folder

    return alter


INDEX, UNET, SCHEDULER = "model_index.json", "unet/config.json", "scheduler/scheduler_config.json"
FOLDERS = {
    "the refiner": (INDEX, {"text_encoder": [None, None]}, "is SDXL's refiner"),
    "inpainting": (UNET, {"in_channels": 9}, "is an inpainting model"),
    "Stable Diffusion 1": (
        UNET,
        {"addition_embed_type": None, "cross_attention_dim": 768},
        "is Stable Diffusion 1, which is not of the SDXL family",
    ),
    "Stable Diffusion 2": (
        UNET,
        {"addition_embed_type": None, "cross_attention_dim": 1024},
        "is Stable Diffusion 2, which is not of the SDXL family",
    ),
    "Stable Diffusion 3": (
        INDEX,
        {"_class_name": "StableDiffusion3Pipeline", "transformer": ["a", "b"]},
        "is Stable Diffusion 3,",
    ),
    "FLUX": (INDEX, {"_class_name": "FluxPipeline", "transformer": ["a", "b"]}, "is FLUX,"),
    "another": (INDEX, {"_class_name": "SanaPipeline", "transformer": ["a", "b"]}, "is SanaPipeline,"),
    "EDM": (
        SCHEDULER,
        {"_class_name": "EDMEulerScheduler"},
        "is trained on EDM's noise schedule (EDMEulerScheduler)",
    ),
    "EDM, continuous": (SCHEDULER, {"timestep_type": "continuous"}, "is trained on EDM's noise schedule"),
    "flow matching": (
        SCHEDULER,
        {"_class_name": "FlowMatchEulerDiscreteScheduler"},
        "is trained on the noise of flow matching",
    ),
    "flow sigmas": (
        SCHEDULER,
        {"_class_name": "UniPCMultistepScheduler", "use_flow_sigmas": True},
        "is trained on the noise of flow matching",
    ),
    "noise of its own": (
        SCHEDULER,
        {"_class_name": "KarrasVeScheduler"},
        "the noise schedule of its KarrasVeScheduler is not one of DDPM's",
    ),
    "a target of its own": (SCHEDULER, {"prediction_type": "velocity"}, "its scheduler predicts 'velocity'"),
    "no such scheduler": (
        SCHEDULER,
        {"_class_name": "Path"},
        "has the scheduler 'Path', which this diffusers does not know",
    ),
}


@pytest.mark.parametrize("what", FOLDERS)
def test_a_folder_that_is_no_base(what, altered):
    """They ended in tracebacks, or were trained on a wrong schedule."""
    file, changes, told = FOLDERS[what]
    folder = altered(file, **changes)
    with pytest.raises(BaseModelError) as caught:
        look_at(find_base(str(folder)))
    message = str(caught.value)
    assert message.startswith(f"--base {folder}")
    assert told in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "scheduler",
    [
        "DDIMScheduler",
        "DDPMScheduler",
        "DPMSolverMultistepScheduler",
        "EulerAncestralDiscreteScheduler",
        "PNDMScheduler",
    ],
)
def test_schedulers_that_draw_otherwise_train_alike(altered, scheduler):
    """Whatever draws, the noise of training is DDPM's."""
    source = look_at(find_base(str(altered(SCHEDULER, _class_name=scheduler))))
    assert type(source.scheduler).__name__ == scheduler
    assert source.said == "SDXL in diffusers' layout, epsilon"
