"""The memory forecast: made from shapes, and still what a real training holds in each of its phases."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from coeffdream.backbones.base import find_base
from coeffdream.backbones.footprint import NOT_COUNTED, TEXT, UNET, VAE, Phase, Shapes, phase
from coeffdream.resolve import resolve
from coeffdream.training.forecast import ADAPTER, Forecast, passes

TOYBOX = find_base("toybox")
CONFIG = resolve({"device": "cpu", "batch_size": 1}, None, TOYBOX.settings.training).config
CARD = dataclasses.replace(CONFIG, device="cuda", precision="bf16")


KEPT = {}


def forecast(config=CONFIG):
    """Of one config made once: it takes a second."""
    if repr(config) not in KEPT:
        KEPT[repr(config)] = Forecast(TOYBOX, config)
    return KEPT[repr(config)]


def by_name(config, of=None):
    return {each.name: each for each in forecast(of or config).phases(config)}


def test_weights_and_adapter_are_counted_exactly():
    """Half precision halves the base but for its VAE, and leaves the float32 adapter with Adam's two moments."""
    half, full = (
        by_name(dataclasses.replace(CONFIG, precision=each))["step"].held for each in ("bf16", "fp32")
    )
    shapes = Shapes(TOYBOX, torch.float32)
    trained = sum(p.numel() for p in forecast().adapter.trainable.values())
    assert full[UNET] == 4 * sum(p.numel() for p in shapes.unet.parameters())
    assert half[UNET] == full[UNET] // 2
    assert half[VAE] == full[VAE]
    assert half[ADAPTER] == full[ADAPTER] == 3 * 4 * trained


def test_what_costs_memory():
    """Checkpointing saves it, a larger batch and the prior cost it."""
    step = {
        name: forecast().step(dataclasses.replace(CONFIG, **changes)).activations
        for name, changes in {
            "plain": {},
            "checkpointing": {"gradient_checkpointing": True},
            "batch": {"batch_size": 2},
            "prior": {"prior": True},
        }.items()
    }
    assert step["checkpointing"] < 0.7 * step["plain"]
    assert 1.8 * step["plain"] < step["batch"] < 3 * step["plain"]
    assert step["prior"] == step["batch"]


@pytest.mark.parametrize("method", ["coeff-lora", "dora"])
def test_a_call_worked_out_before_gives_the_same(method, monkeypatch):
    """What is remembered of equal calls is only how long they took: without it every byte is the same."""
    config = dataclasses.replace(CONFIG, method=method, gradient_checkpointing=True)
    remembering = Forecast(TOYBOX, config).step(config)
    monkeypatch.setattr("coeffdream.backbones.live_bytes._layout", lambda value: object())
    assert Forecast(TOYBOX, config).step(config) == remembering


def test_where_everything_is():
    """On a card the UNet waits while photos are encoded and the VAE while a step is made; a CPU holds all of it."""
    on_card, on_cpu = by_name(CARD), by_name(CONFIG)
    assert list(on_card) == ["load", "encode", "sample pictures", "step"]
    assert set(on_card["encode"].held) == {VAE, TEXT}
    assert set(on_card["step"].held) == {UNET, ADAPTER}
    assert set(on_cpu["encode"].held) == {UNET, VAE, TEXT}
    assert set(on_cpu["step"].held) == {UNET, ADAPTER, VAE}


def test_models_that_take_turns():
    """No two of them are ever added up."""
    turns = by_name(dataclasses.replace(CARD, offload="model", prior=True))
    assert all(len({UNET, VAE, TEXT} & set(each.held)) == 1 for each in turns.values())


def test_the_memory_of_a_device_decides_what_was_left_open(monkeypatch):
    """A plan tells what the training will do: models take turns, and pictures are tiled, where it asks for that."""
    monkeypatch.setattr(
        "coeffdream.backbones.placement.TILE", 8
    )  # the toybox's pictures are smaller than a tile

    def placed(memory, **typed):
        found = forecast().placed(dataclasses.replace(CARD, **typed), memory)
        assert dataclasses.replace(found, offload="auto", vae_tiling=None) == CARD
        return found.offload, found.vae_tiling

    assert placed(None) == placed(1 << 40) == ("none", False)
    assert placed(NOT_COUNTED) == ("model", True)
    assert placed(NOT_COUNTED, offload="none", vae_tiling=False) == ("none", False)


def test_a_recording_of_drawing_stays_while_a_picture_is_decoded(monkeypatch):
    """A card that replays the UNet keeps what its passes hold; models that take turns are not recorded."""
    before = by_name(CARD)["sample pictures"].activations
    turns = dataclasses.replace(CARD, offload="model")
    taking_turns = by_name(turns, CARD)["sample pictures"].total
    drawn = forecast(CARD)._samples
    monkeypatch.setattr("coeffdream.training.forecast.replays", lambda device: device.type == "cuda")
    decoding = forecast(CARD)._shapes.decoding(CARD.resolution, False)
    assert by_name(CARD)["sample pictures"].activations == drawn + decoding > before
    assert by_name(turns, CARD)["sample pictures"].total == taking_turns


def test_phases_that_are_not_there():
    """No pictures on the way, no phase of them; class pictures are one of their own."""
    assert "sample pictures" not in by_name(dataclasses.replace(CONFIG, sample_every=0), of=CONFIG)
    assert "prior pictures" in by_name(dataclasses.replace(CONFIG, prior=True))


def test_a_phase_is_its_highest_moment():
    """The most of what is done one after another, never their sum."""
    weights = {"a": 10, "b": 1, "c": 100}
    highest = phase("name", weights, ["c"], [("a", 5), ("b", 15)])
    assert highest == Phase("name", {"c": 100, "b": 1}, 15)
    assert highest.total == 116


def test_sdxl_needs_more_for_its_pictures_than_for_its_step():
    """8.1 GiB at 1024, which a decoded picture takes beside the UNet, and 5.7 for a step: both are told."""
    shapes = Shapes(find_base("sdxl"), torch.bfloat16)
    beside = shapes.weights[UNET] + shapes.weights[VAE]
    assert round((beside + shapes.decoding(1024, False)) / 2**30, 1) == 8.1
    assert shapes.decoding(1024, True) < 0.4 * shapes.decoding(1024, False)
    assert shapes.decoding(512, True) == shapes.decoding(512, False)


def test_passes_of_a_default_run():
    """200 steps with checkpointing, and two pictures at the beginning, in the middle and at the end: a small part of it."""
    config = resolve({}, None, find_base("sdxl").settings.training).config
    runs = passes(config, 30)
    assert (runs.steps, runs.pictures, runs.samples) == (600, 6, 96)
    assert runs.share < 0.15
    assert passes(config, 4).samples == 48
    assert passes(dataclasses.replace(config, sample_every=0), 30).share == 0
    assert passes(dataclasses.replace(config, gradient_checkpointing=False), 30).steps == 400
