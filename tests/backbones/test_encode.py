"""Prompts and photos into what the UNet reads, as diffusers' own pipeline does it."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from coeffdream.backbones.encode import (
    LatentPosterior,
    check_lengths,
    decode_latents,
    encode_image,
    encode_prompt,
)
from coeffdream.errors import BaseModelError, PromptError


def picture(width: int = 32, height: int = 32) -> Image.Image:
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def diffusers_pipeline(tiny_base):
    """Loaded by diffusers alone."""
    from diffusers import StableDiffusionXLPipeline

    return StableDiffusionXLPipeline.from_pretrained(tiny_base, add_watermarker=False)


@pytest.mark.parametrize("negative", ["", "blurry"])
@pytest.mark.parametrize("zeros", [True, False])
def test_prompts_are_encoded_as_diffusers_does(components, diffusers_pipeline, negative, zeros):
    """Both text encoders, pooled and not; no negative prompt is zeros where the base says so."""
    diffusers_pipeline.register_to_config(force_zeros_for_empty_prompt=zeros)
    ours = dataclasses.replace(components, force_zeros_for_empty_prompt=zeros)
    wanted = diffusers_pipeline.encode_prompt(
        "a photo of a sks cat", negative_prompt=negative or None, do_classifier_free_guidance=True
    )
    got = encode_prompt(ours, "a photo of a sks cat", negative)
    for tensor, other in zip(
        (got.embeds, got.negative_embeds, got.pooled, got.negative_pooled), wanted, strict=True
    ):
        assert torch.equal(tensor, other[0])
    assert got.embeds.shape == (77, 32)
    assert got.pooled.shape == (16,)
    assert bool(got.negative_embeds.any()) == (negative != "" or not zeros)


def test_the_text_encoders_are_causal(components):
    """A later word must not change what an earlier one means; a wrong attention mask would do that."""
    one = encode_prompt(components, "a cat in snow").embeds
    other = encode_prompt(components, "a cat in rain").embeds
    same = len(components.tokenizer("a cat in").input_ids) - 1  # but for the end token
    torch.testing.assert_close(one[:same], other[:same])
    assert not torch.allclose(one[same:], other[same:])


def test_a_prompt_that_would_be_cut_is_refused(components):
    """The miniature reads letters: 75 of them fit between start and end."""
    check_lengths(components, ["a" * 75] * 300)
    with pytest.raises(PromptError) as caught:
        encode_prompt(components, "a" * 76)
    message = str(caught.value)
    assert "is 78 tokens long where the text encoders read 77" in message
    assert "shorten it" in message
    with pytest.raises(PromptError, match=r"'b+' is 102 tokens long"):
        encode_prompt(components, "a cat", negative="b" * 100)


@pytest.mark.parametrize("shorter", ["tokenizer", "tokenizer_2"])
def test_each_tokenizer_is_asked(components, shorter):
    """Where the two read different lengths, the shorter one decides, whichever it is."""
    cut = copy.deepcopy(getattr(components, shorter))
    cut.model_max_length = 20
    uneven = dataclasses.replace(components, **{shorter: cut})
    check_lengths(uneven, ["a" * 18])
    with pytest.raises(PromptError, match="is 21 tokens long where the text encoders read 20"):
        check_lengths(uneven, ["a" * 19])


def test_a_photo_becomes_a_gaussian_in_the_unets_scale(components):
    """Mean and std of the VAE's posterior, times its scaling factor, float32 on the CPU."""
    image = picture(32, 24)
    posterior = encode_image(components, image)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        wanted = components.vae.encode(pixels).latent_dist
    factor = components.vae.config.scaling_factor
    assert posterior.mean.shape == posterior.std.shape == (4, 6, 8)
    torch.testing.assert_close(posterior.mean, wanted.mean[0] * factor)
    torch.testing.assert_close(posterior.std, wanted.std[0] * factor)
    assert {posterior.mean.dtype, posterior.std.dtype} == {torch.float32}


def test_the_posterior_is_sampled_with_the_noise_given():
    """So the draw is a function of the step, not of torch's global generator."""
    posterior = LatentPosterior(torch.full((4, 2, 2), 3.0), torch.full((4, 2, 2), 0.5))
    assert torch.equal(posterior.sample(torch.ones(4, 2, 2)), torch.full((4, 2, 2), 3.5))


@pytest.fixture
def shifted(components):
    """The same VAE with the latents_mean and latents_std that some of SDXL's kin carry."""
    vae = copy.deepcopy(components.vae)
    vae.register_to_config(latents_mean=[0.1, -0.2, 0.3, 0.4], latents_std=[2.0, 3.0, 4.0, 5.0])
    return dataclasses.replace(components, vae=vae)


def test_latents_mean_and_std_are_honoured(components, shifted):
    """(latents - mean) * factor / std, per channel."""
    plain, other = (encode_image(each, picture()) for each in (components, shifted))
    factor = components.vae.config.scaling_factor
    mean = torch.tensor([0.1, -0.2, 0.3, 0.4]).view(4, 1, 1)
    std = torch.tensor([2.0, 3.0, 4.0, 5.0]).view(4, 1, 1)
    torch.testing.assert_close(other.mean, (plain.mean / factor - mean) * factor / std)
    torch.testing.assert_close(other.std, plain.std / std)


@torch.no_grad()
@pytest.mark.parametrize("which", ["components", "shifted"])
def test_decoding_undoes_the_scale(which, request):
    """decode(encode(x)) is what the VAE itself makes of x, to the pixel."""
    components = request.getfixturevalue(which)
    image = picture()
    latents = encode_image(components, image).mean[None]
    decoded = decode_latents(components, latents)[0]
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 127.5 - 1
    wanted = components.vae.decode(components.vae.encode(pixels).latent_dist.mean).sample[0]
    wanted = ((wanted.clamp(-1, 1) + 1) * 127.5).permute(1, 2, 0).numpy()
    assert decoded.mode == "RGB"
    assert decoded.size == (32, 32)
    assert np.abs(np.asarray(decoded, dtype=float) - wanted).max() <= 0.51


def test_decoding_is_one_by_one(components):
    """A picture does not depend on the batch it is decoded in."""
    latents = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    together = decode_latents(components, latents)
    for index, image in enumerate(together):
        assert image.tobytes() == decode_latents(components, latents[index : index + 1])[0].tobytes()


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32], ids=str)
def test_latents_that_are_not_finite_do_not_become_black_pictures(components, value, dtype):
    """Say so instead of saving black; a wider precision helps where half precision overflowed."""
    latents = torch.zeros(1, 4, 8, 8, dtype=dtype)
    latents[0, 0, 0, 0] = value
    with pytest.raises(
        BaseModelError, match=r"values that are not numbers .* a lower --lora-scale"
    ) as caught:
        decode_latents(components, latents)
    assert ("--precision bf16 or fp32" in str(caught.value)) == (dtype == torch.float16)
