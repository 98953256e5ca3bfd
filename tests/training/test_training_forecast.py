"""The memory forecast: made from shapes, and still what a real step holds."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from coeffdream.adapters.install import install, spec_for
from coeffdream.backbones.base import find_base
from coeffdream.backbones.load import meta_unet
from coeffdream.config import TrainConfig
from coeffdream.training.forecast import LiveBytes, MemoryForecast, forecast_memory

CONFIG = TrainConfig(method="coeff-lora", resolution=64)


def forecast(base, config, dtype):
    unet = meta_unet(base).to(dtype)
    return forecast_memory(unet, install(unet, spec_for(config, unet)), config)


@pytest.fixture(scope="module")
def toybox():
    return find_base("toybox")


def test_weights_and_adapter_are_counted_exactly(toybox):
    """Half precision halves the base and leaves the float32 adapter, its gradients aside, with Adam's two moments."""
    unet = meta_unet(toybox)
    frozen = sum(parameter.numel() for parameter in unet.parameters())
    trained = sum(p.numel() for p in install(unet, spec_for(CONFIG, unet)).trainable.values())
    half, full = (forecast(toybox, CONFIG, dtype) for dtype in (torch.bfloat16, torch.float32))
    assert (half.unet, full.unet) == (2 * frozen, 4 * frozen)
    assert half.adapter == full.adapter == 3 * 4 * trained


def test_what_costs_memory(toybox):
    """Checkpointing saves it, a larger batch and the prior cost it."""
    plain = forecast(toybox, CONFIG, torch.float32).activations
    saving = dataclasses.replace(CONFIG, gradient_checkpointing=True)
    assert forecast(toybox, saving, torch.float32).activations < 0.7 * plain
    for larger in (dataclasses.replace(CONFIG, batch_size=2), dataclasses.replace(CONFIG, prior=True)):
        assert 1.8 * plain < forecast(toybox, larger, torch.float32).activations < 3 * plain


@pytest.mark.parametrize("method", ["coeff-lora", "dora"])
def test_a_call_worked_out_before_gives_the_same(method, toybox, monkeypatch):
    """What is remembered of equal calls is only how long they took: without it every byte is the same."""
    config = dataclasses.replace(CONFIG, method=method, gradient_checkpointing=True)
    remembering = forecast(toybox, config, torch.bfloat16)
    monkeypatch.setattr("coeffdream.training.forecast._layout", lambda value: object())
    assert forecast(toybox, config, torch.bfloat16) == remembering


def test_the_total_is_all_of_it():
    """What a card must have."""
    assert MemoryForecast(unet=1, adapter=20, activations=300).total == 321


def test_live_bytes_sees_what_lives():
    """A tensor counts while it lives, a view counts nothing, and what was there before is not its business."""
    before = torch.ones(1000)
    with LiveBytes([before]) as counted:
        made = before * 2
        view = made.view(10, 100)
        assert counted.live == 4000
        assert before.view(10, 100).shape == view.shape
        assert counted.live == 4000
        del made, view
        assert counted.live == 0
    assert counted.peak == 4000
