"""A worker's base: read once, and as if it were loaded anew for every command."""

from __future__ import annotations

import pytest
import torch

from coeffdream import warm
from coeffdream.adapters.install import install, spec_for
from coeffdream.backbones import kept
from coeffdream.backbones.base import find_base
from coeffdream.backbones.kept import base_components
from coeffdream.backbones.variants import STEMS
from coeffdream.config import TrainConfig

CPU = torch.device("cpu")


@pytest.fixture
def loads(monkeypatch):
    """How often weights were read."""
    counted = []
    load = kept.load_components
    monkeypatch.setattr(kept, "load_components", lambda *a, **o: counted.append(1) or load(*a, **o))
    return counted


@pytest.fixture
def worker():
    warm.keep(None)
    yield
    warm.keep_nothing()


def components(base, dtype=torch.float32):
    return base_components(find_base(str(base)), device=CPU, dtype=dtype, unet_device=CPU)


def state(components):
    return {
        f"{part}.{name}": tensor.clone()
        for part in STEMS
        for name, tensor in getattr(components, part).state_dict().items()
    }


def test_loaded_once_and_never_changed(worker, loads, tiny_base):
    """What one command puts on the base, or takes from it, the next does not see; the weights themselves are one copy."""
    one = components(tiny_base)
    before, address = state(one), next(one.unet.parameters()).data_ptr()
    install(one.unet, spec_for(TrainConfig(base=str(tiny_base)), one.unet))
    one.unet.train().enable_gradient_checkpointing()
    one.unet.to(torch.bfloat16)
    one.scheduler = None
    one.release_text_encoders()

    other = components(tiny_base)
    assert len(loads) == 1
    after = state(other)
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert not other.unet.training
    assert not other.unet.is_gradient_checkpointing
    assert type(next(iter(other.unet.attn_processors.values()))).__name__.startswith("AttnProcessor")
    assert other.scheduler is not None
    assert next(other.unet.parameters()).data_ptr() == address
    assert not any(parameter.requires_grad for parameter in other.unet.parameters())


def test_another_precision_is_another_base(worker, loads, tiny_base):
    """A study's arms may ask for one each."""
    assert components(tiny_base).unet.dtype == torch.float32
    assert components(tiny_base, torch.bfloat16).unet.dtype == torch.bfloat16
    assert components(tiny_base).unet.dtype == torch.float32
    assert len(loads) == 2


def test_a_command_of_its_own_keeps_nothing(loads, tiny_base):
    """A person who trains twice in one session may have changed the folder in between."""
    components(tiny_base)
    components(tiny_base)
    assert len(loads) == 2
