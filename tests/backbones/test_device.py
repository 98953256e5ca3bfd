"""Devices and precisions by name."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
import torch

from coeffdream.backbones.device import here_or_auto, pick_device, pick_dtype, settled
from coeffdream.config import TrainConfig
from coeffdream.errors import ConfigError

CPU = torch.device("cpu")


def test_auto_finds_something_that_works():
    """Whatever this machine has."""
    assert torch.zeros(1, device=pick_device("auto")).sum() == 0
    assert pick_device("cpu") == CPU


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "", "cpu cpu"])
def test_a_device_that_is_none(name):
    """Quoted, with the names there are."""
    with pytest.raises(ConfigError, match="is no device; use auto, cpu, cuda"):
        pick_device(name)


def test_a_gpu_that_is_not_there(monkeypatch):
    """Says how many there are."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert pick_device("cuda:0") == torch.device("cuda:0")
    with pytest.raises(ConfigError, match="has 1 CUDA devices; use --device cpu"):
        pick_device("cuda:1")


def test_an_apple_gpu_that_is_not_there(monkeypatch):
    """The same for mps."""
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="no Apple GPU"):
        pick_device("mps")


def test_precisions():
    """By name, and float32 for auto off CUDA."""
    assert pick_dtype("auto", CPU) == torch.float32
    assert [pick_dtype(name, CPU) for name in ("fp32", "bf16", "fp16")] == [
        torch.float32,
        torch.bfloat16,
        torch.float16,
    ]


@pytest.fixture
def two_cards(monkeypatch):
    """cuda:0 computes in bfloat16 and is the current one; cuda:1 only emulates it, as a T4 does."""
    asked = [0]

    @contextlib.contextmanager
    def current(device):
        asked.append(device.index or 0)
        yield
        asked.pop()

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "device", current)
    monkeypatch.setattr(
        torch.cuda,
        "is_bf16_supported",
        lambda including_emulation=True: including_emulation or asked[-1] == 0,
    )


def test_the_card_that_is_meant_is_asked_and_emulation_does_not_count(two_cards):
    """An old card computes bfloat16 through float32, at a fraction of the speed."""
    assert pick_dtype("auto", torch.device("cuda:0")) == torch.bfloat16
    assert pick_dtype("auto", torch.device("cuda:1")) == torch.float16
    assert pick_dtype("bf16", torch.device("cuda:1")) == torch.bfloat16  # as asked


def test_a_config_is_settled_once(two_cards):
    """What run.json says is what was used, so that a run goes on so on any device."""
    auto = TrainConfig(device="cuda:1")
    assert (settled(auto).device, settled(auto).precision) == ("cuda:1", "fp16")
    moved = settled(replace(settled(auto), device="cpu"))
    assert (moved.device, moved.precision) == ("cpu", "fp16")
    assert settled(TrainConfig(device="cpu")).precision == "fp32"


def test_a_device_that_is_gone(two_cards):
    """A run is resumed on another machine."""
    assert here_or_auto("cuda:1") == "cuda:1"
    assert here_or_auto("cuda:7") == "auto"
