"""The shipped folders: they load with their own libraries and no code of ours, and they have learned."""

from __future__ import annotations

import json

import open_clip
import pytest
import torch
from diffusers import StableDiffusionXLPipeline, UniPCMultistepScheduler
from open_clip.transformer import QuickGELU
from safetensors import safe_open
from transformers import CLIPTextModel, CLIPTextModelWithProjection, Dinov2Model

from coeffdream.backbones.base import read_settings
from coeffdream.toybox.paths import CLIP_SCORER, DINO_SCORER, WEIGHTS
from coeffdream.workshop.build.export import RECOMMENDED
from coeffdream.workshop.build.shards import draw_shard, normalised
from coeffdream.workshop.build.unet import NOISE


@pytest.fixture(scope="module")
def pipeline():
    pipe = StableDiffusionXLPipeline.from_pretrained(WEIGHTS)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_plain_diffusers_loads_and_draws(pipeline):
    """The folder is an SDXL pipeline to diffusers, of SDXL's own classes, and gives finite, varied pictures."""
    assert type(pipeline.text_encoder) is CLIPTextModel
    assert type(pipeline.text_encoder_2) is CLIPTextModelWithProjection
    assert pipeline.unet.config.addition_embed_type == "text_time"
    assert type(pipeline.scheduler) is UniPCMultistepScheduler
    assert pipeline.scheduler.config.prediction_type == "v_prediction"
    assert pipeline.config.force_zeros_for_empty_prompt is False
    pictures = pipeline(
        ["a cat in the snow", "a car at night"],
        num_inference_steps=4,
        guidance_scale=3.0,
        height=64,
        width=64,
        generator=[torch.Generator().manual_seed(seed) for seed in (0, 1)],
        output_type="pt",
    ).images
    assert pictures.shape == (2, 3, 64, 64)
    assert torch.isfinite(pictures).all()
    assert pictures.std() > 0.05


def test_the_vae_keeps_the_picture(pipeline):
    """Held-out renders survive the VAE, and its scaling factor makes latents of unit deviation."""
    images = normalised(draw_shard(9001, 32).pixels)
    with torch.no_grad():
        latents = pipeline.vae.encode(images).latent_dist.mode()
        decoded = pipeline.vae.decode(latents).sample
    mean_squared = (decoded.clamp(-1, 1) - images).square().mean()
    assert 10 * torch.log10(4 / mean_squared) > 20
    assert 0.8 < float(latents.std() * pipeline.vae.config.scaling_factor) < 1.2


def test_four_heads_everywhere(pipeline):
    """Coefficient matrices of this base are 4 x 4 in every attention layer."""
    heads = [
        module.heads for name, module in pipeline.unet.named_modules() if name.endswith(("attn1", "attn2"))
    ]
    assert len(heads) == 14
    assert set(heads) == {4}


def test_text_towers_are_causal(pipeline):
    """A later word changes nothing before it."""
    tokens = pipeline.tokenizer(
        ["a photo of a red cat", "a photo of a red car"], padding="max_length", return_tensors="pt"
    ).input_ids
    with torch.no_grad():
        for tower in (pipeline.text_encoder, pipeline.text_encoder_2):
            states = tower(tokens, output_hidden_states=True).hidden_states[-2]
            assert torch.equal(states[0, :6], states[1, :6])
            assert not torch.equal(states[0, 6:], states[1, 6:])


@pytest.mark.parametrize("folder", [WEIGHTS / "unet", WEIGHTS / "vae", CLIP_SCORER, DINO_SCORER])
def test_tensors_ship_in_half(folder):
    """fp16 safetensors only: the package stays small and nothing is pickled."""
    files = [path for path in folder.iterdir() if path.suffix not in (".json", ".md")]
    assert [path.suffix for path in files] == [".safetensors"]
    with safe_open(files[0], "pt") as file:
        kinds = {file.get_slice(key).get_dtype() for key in file.keys()}  # noqa: SIM118
    assert kinds == {"F16"}


def test_recommended_settings_are_readable():
    """What coeffdream reads beside the weights is plain JSON with the sizes this base was taught at."""
    settings = read_settings(WEIGHTS)
    assert settings.resolution == 64
    assert settings.guidance_scale > 1


def test_an_export_would_write_the_scheduler_and_settings_that_ship(pipeline):
    """Both were changed without an export; the next one must not change them back."""
    made = {key: value for key, value in UniPCMultistepScheduler(**NOISE).config.items() if key[0] != "_"}
    assert {key: pipeline.scheduler.config[key] for key in made} == made
    assert json.loads((WEIGHTS / "coeffdream.json").read_text(encoding="utf-8")) == RECOMMENDED


def test_configs_name_no_machine():
    """No path of the machine that exported them travels in the configs."""
    for folder in (WEIGHTS, CLIP_SCORER, DINO_SCORER):
        for path in folder.rglob("*.json"):
            assert "_name_or_path" not in path.read_text(), path


def test_clip_scorer_tells_subjects_apart():
    """open_clip loads the scorer, QuickGELU in both towers, and captions find their pictures far above chance."""
    name = f"local-dir:{CLIP_SCORER}"
    model, _, transform = open_clip.create_model_and_transforms(name)
    tokenizer = open_clip.get_tokenizer(name)
    for tower in (model.visual, model.transformer):
        activations = [module for module in tower.modules() if isinstance(module, QuickGELU | torch.nn.GELU)]
        assert activations
        assert all(isinstance(module, QuickGELU) for module in activations)
    assert transform is not None
    data = draw_shard(9002, 48)
    captions = [row[0] for row in data.captions]
    with torch.no_grad():
        images = torch.nn.functional.normalize(model.eval().encode_image(normalised(data.pixels)), dim=-1)
        texts = torch.nn.functional.normalize(model.encode_text(tokenizer(captions)), dim=-1)
    found = ((images @ texts.T).argmax(1) == torch.arange(48)).float().mean()
    assert found > 0.3  # chance is 1/48


def test_dino_scorer_loads_whole():
    """transformers loads the DINOv2 scorer with no key missing and it gives one finite feature per picture."""
    model, loading = Dinov2Model.from_pretrained(DINO_SCORER, output_loading_info=True)
    assert not loading["missing_keys"]
    with torch.no_grad():
        features = model.float()(torch.zeros(2, 3, 64, 64)).pooler_output
    assert features.shape == (2, model.config.hidden_size)
    assert torch.isfinite(features).all()
