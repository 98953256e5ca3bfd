"""Photos and captions are encoded once, stay together, and the encoders leave memory."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace

import pytest
import torch

from coeffdream.backbones.base import find_base
from coeffdream.backbones.encode import encode_image, encode_prompt
from coeffdream.backbones.load import load_components
from coeffdream.config import TrainConfig
from coeffdream.data.concept import load_concept
from coeffdream.data.images import load_image, resize_and_crop
from coeffdream.errors import NonFiniteLossError, PromptError
from coeffdream.progress import silent
from coeffdream.training import latent_cache as cache_module
from coeffdream.training import session as sessions
from coeffdream.training.latent_cache import cache_class_images, cache_concept, stack

CONFIG = TrainConfig(resolution=32)


@pytest.fixture(scope="module")
def components(tiny_base):
    return load_components(find_base(str(tiny_base)), device=torch.device("cpu"), dtype=torch.float32)


@pytest.fixture
def captioned(cat_folder):
    (cat_folder / "00.txt").write_text("<V> cat on a red sofa")
    (cat_folder / "02.txt").write_text("a drawing of <V> CLASS")
    return load_concept(cat_folder)


def test_each_photo_with_its_own_caption_and_size(components, captioned):
    """diffusers #14430: a cache must not pair one photo's latents with another's caption."""
    expected = {
        "00.png": "sks cat on a red sofa",
        "01.png": "a photo of sks cat",
        "02.png": "a drawing of sks cat",
    }
    samples = cache_concept(components, captioned.images, CONFIG, silent)
    assert [sample.name for sample in samples] == list(expected)
    for sample in samples:
        photo = load_image(captioned.folder / sample.name)
        square, size = resize_and_crop(photo, 32)
        conditioning = encode_prompt(components, expected[sample.name])
        assert torch.equal(sample.posterior.mean, encode_image(components, square).mean)
        assert torch.equal(sample.conditioning.embeds, conditioning.embeds)
        assert torch.equal(sample.conditioning.pooled, conditioning.pooled)
        assert sample.time_ids == (photo.height, photo.width, *size.crop_top_left, 32, 32)
    assert len({sample.time_ids for sample in samples}) == 3


def test_order_does_not_matter(components, captioned):
    """The samples of a reordered concept are the same samples in another order."""
    import dataclasses

    backwards = dataclasses.replace(captioned, images=tuple(reversed(captioned.images)))
    there = {sample.name: sample for sample in cache_concept(components, captioned.images, CONFIG, silent)}
    for sample in cache_concept(components, backwards.images, CONFIG, silent):
        assert torch.equal(sample.posterior.mean, there[sample.name].posterior.mean)
        assert torch.equal(sample.conditioning.embeds, there[sample.name].conditioning.embeds)
        assert sample.time_ids == there[sample.name].time_ids


def test_batch_keeps_them_together(components, captioned):
    """Row i of a batch is all of sample i."""
    samples = cache_concept(components, captioned.images, CONFIG, silent)
    chosen = [samples[2], samples[0]]
    embeds, added = stack(chosen, torch.device("cpu"), torch.float32)
    for row, sample in enumerate(chosen):
        assert torch.equal(embeds[row], sample.conditioning.embeds)
        assert torch.equal(added["text_embeds"][row], sample.conditioning.pooled)
        assert added["time_ids"][row].tolist() == list(sample.time_ids)


def test_a_batch_has_the_unets_dtype(components, captioned):
    """The UNet in half precision is given nothing in float32 but the size ids, which bfloat16 rounds: 3000 to 3008."""
    samples = cache_concept(components, captioned.images, CONFIG, silent)
    embeds, added = stack(samples, torch.device("cpu"), torch.bfloat16)
    assert {embeds.dtype, added["text_embeds"].dtype} == {torch.bfloat16}
    assert added["time_ids"].dtype == torch.float32
    [large] = stack(
        [replace(samples[0], time_ids=(3000, 4000, 0, 0, 32, 32))], torch.device("cpu"), torch.bfloat16
    )[1]["time_ids"].tolist()
    assert large == [3000, 4000, 0, 0, 32, 32]


def test_progress_is_heard(components, captioned):
    """A bar needs how far it is, of how much, and what is going on; SDXL's VAE takes seconds a photo."""
    heard = []
    cache_concept(components, captioned.images, CONFIG, lambda *what: heard.append(what))
    assert heard == [("encoding photos", done, 3, "") for done in (1, 2, 3)]
    heard.clear()
    images = [load_image(image.path) for image in captioned.images[:2]]
    samples = cache_class_images(components, images, "a cat", 32, lambda *what: heard.append(what))
    assert heard == [("encoding class images", done, 2, "") for done in (1, 2)]
    assert [sample.name for sample in samples] == ["class image 0", "class image 1"]


def test_caption_too_long(components, captioned, cat_folder):
    """A caption whose end the text encoders would never read is refused, not cut."""
    (cat_folder / "00.txt").write_text("<V> cat " + "on a red sofa " * 20)
    with pytest.raises(PromptError, match="tokens long where the text encoders read 77"):
        cache_concept(components, load_concept(cat_folder).images, CONFIG, silent)


def test_vae_that_overflows(components, captioned, monkeypatch):
    """NaN latents (diffusers #7310) are named with their photo instead of being trained on."""
    encode = cache_module.encode_image

    def overflowing(components, image):
        posterior = encode(components, image)
        posterior.mean[0, 0, 0] = float("nan")
        return posterior

    monkeypatch.setattr(cache_module, "encode_image", overflowing)
    with pytest.raises(NonFiniteLossError, match=r"00\.png"):
        cache_concept(components, captioned.images, CONFIG, silent)


def test_what_takes_long_is_named_before_it_begins(options, given):
    """While a large base is read from disk nothing else is heard."""
    heard = []
    sessions.Session.prepare(*given(options()), lambda *what: heard.append(what[:3]))
    loading = [("loading the base", done, 1) for done in (0, 1)]
    assert heard == loading + [("encoding photos", done, 3) for done in (1, 2, 3)]


def test_text_encoders_leave_memory(options, session, monkeypatch):
    """After caching nothing holds the text encoders, the sampler included: they are 3 GB of SDXL."""
    watched = []
    load = sessions.base_components

    def watching(*arguments, **options):
        components = load(*arguments, **options)
        watched.extend(weakref.ref(part) for part in (components.text_encoder, components.text_encoder_2))
        return components

    monkeypatch.setattr(sessions, "base_components", watching)
    made = session(options(sample_every=1))
    gc.collect()
    assert len(watched) == 2
    assert [reference() for reference in watched] == [None, None]
    assert made.sampler is not None
    assert len(made.data.photos) == 3
