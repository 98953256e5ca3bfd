"""The cheapest training that fits: what is turned down, in which order, and what never is."""

from __future__ import annotations

import dataclasses

import pytest

from coeffdream.backbones.base import find_base
from coeffdream.backbones.footprint import NOT_COUNTED, UNET, Phase
from coeffdream.config import TrainConfig
from coeffdream.errors import ConfigError
from coeffdream.training import fit as fitting
from coeffdream.training.fit import GIB, fit

BASE = find_base("toybox")
CARD = TrainConfig(device="cuda", precision="bf16", batch_size=4, steps=10)


class Simple:
    """A base whose step takes 4 GiB a photo in fp32, and whose pictures take 20 beside the UNet."""

    def __init__(self, base, config):
        self.unet = {"fp32": 4 * GIB, "bf16": 2 * GIB}[config.precision]
        self.away = 0
        self.photo = self.unet
        if config.base_precision == "int8":
            self.unet //= 2
        if config.offload == "blocks":
            self.unet, self.away = self.unet // 4, self.unet * 3 // 4

    def before_steps(self, config):
        beside = self.unet if config.offload == "none" else 0
        drawn = (5 if config.vae_tiling else 20) * GIB + beside
        drawn = drawn if config.sample_every else 0
        return [Phase("encode", {UNET: self.unet}, 0), Phase("sample pictures", {}, drawn)]

    def step(self, config):
        each = self.photo // (4 if config.gradient_checkpointing else 1)
        return Phase("step", {UNET: self.unet}, config.batch_size * each)

    def phases(self, config):
        return [*self.before_steps(config), self.step(config)]


@pytest.fixture(autouse=True)
def simple(monkeypatch):
    monkeypatch.setattr(fitting, "Forecast", Simple)


def changes(config, gigabytes, *typed):
    """What is other than before, in a device of so much memory beside what no forecast counts."""
    fitted = fit(config, BASE, gigabytes + NOT_COUNTED / GIB, typed)
    assert all(each.total <= gigabytes * GIB for each in fitted.phases)
    before = dataclasses.asdict(config)
    changed = {
        name: value for name, value in dataclasses.asdict(fitted.config).items() if before[name] != value
    }
    settled = {"offload": "none", "vae_tiling": False}  # where nothing is asked of them
    return {name: value for name, value in changed.items() if settled.get(name, ...) != value}


def test_from_the_cheapest_on():
    """Models take turns before anything is inexact; a batch is split before blocks run twice; no pictures at last."""
    turns = {"offload": "model"}
    split = {"batch_size": 1, "grad_accum": 4}
    assert changes(CARD, 22) == {}
    assert changes(CARD, 20) == turns
    assert changes(CARD, 10) == {"vae_tiling": True}
    assert changes(CARD, 6) == turns | {"vae_tiling": True} | split
    assert changes(CARD, 4) == {"sample_every": 0} | split
    least = {"sample_every": 0, "gradient_checkpointing": True} | split
    assert changes(CARD, 3) == least
    assert changes(CARD, 2) == least | {"base_precision": "int8"}
    assert changes(CARD, 1) == least | {"offload": "blocks"}


def test_what_costs_nothing_is_not_paid_for():
    """Checkpointing that a base recommends is left out where there is room, and its price is told as saved."""
    recommended = dataclasses.replace(CARD, gradient_checkpointing=True)
    assert changes(recommended, 22) == {"gradient_checkpointing": False}
    costs = fit(recommended, BASE, 30, ()).costs
    assert costs == {"--no-gradient-checkpointing": "saves 40 of 120 passes of the UNet"}


def test_what_was_typed_stays():
    """But for the batch, whose steps stay what they are."""
    assert changes(CARD, 12, "gradient_checkpointing", "sample_every", "batch_size") == {"vae_tiling": True}
    with pytest.raises(ConfigError):
        fit(CARD, BASE, 1 + 1, ("gradient_checkpointing",))
    with pytest.raises(ConfigError):
        fit(dataclasses.replace(CARD, vae_tiling=False, offload="none"), BASE, 5, ("sample_every",))
    with pytest.raises(ConfigError):  # a method that wants the weights as they are
        fit(dataclasses.replace(CARD, method="coeff-full"), BASE, 2 + 1, ())
    rounded = dataclasses.replace(CARD, base_precision="int8")
    assert changes(rounded, 1, "base_precision")["offload"] == "blocks"
    for typed in (
        {"base_precision": "auto", "offload": "none"},
        {"base_precision": "fp8", "offload": "model"},
    ):
        with pytest.raises(ConfigError):
            fit(dataclasses.replace(CARD, **typed), BASE, 1.5 + 1, tuple(typed))


def test_precision_is_the_last_but_one_thing():
    """On a CPU, where auto is float32; models cannot take turns there."""
    cpu = dataclasses.replace(CARD, device="cpu", precision="fp32", batch_size=1, sample_every=0)
    assert changes(cpu, 8) == {}
    assert changes(cpu, 5) == {"gradient_checkpointing": True}
    assert changes(cpu, 4) == {"precision": "bf16"}
    costs = fit(cpu, BASE, 4, ()).costs
    assert "--precision bf16" in costs  # nothing is turned down without its price
    assert "rounded" in costs["--precision bf16"]
    with pytest.raises(ConfigError):
        fit(cpu, BASE, 4 + 1, ("precision", "base_precision"))
    assert changes(cpu, 2) == {"precision": "bf16", "base_precision": "int8", "gradient_checkpointing": True}


def test_nothing_fits():
    """One line with the least that it could be, which then does."""
    with pytest.raises(
        ConfigError, match=r"--fit 1.5: this training takes 2\.0 GB at the least .*'step'.*--resolution"
    ):
        fit(CARD, BASE, 1.5, ())
    assert fit(CARD, BASE, 2, ()).config.gradient_checkpointing


def test_every_choice_has_its_price():
    """In words and in passes of the UNet, spelled as on the command line."""
    costs = fit(dataclasses.replace(CARD, sample_every=5), BASE, 7, ()).costs
    assert list(costs) == ["--batch-size 1", "--grad-accum 4", "--offload model", "--vae-tiling"]
    assert "6 pictures" in costs["--offload model"]
    prior = dataclasses.replace(CARD, sample_every=5, prior=True, prior_images=100)
    assert "each of 106 pictures" in fit(prior, BASE, 7, ()).costs["--offload model"]
    assert "4 passes" in costs["--batch-size 1"]
    assert "8 bits" in fit(CARD, BASE, 3, ()).costs["--base-precision int8"]
    assert "1.5 GB" in fit(CARD, BASE, 2, ()).costs["--offload blocks"]
    assert "each of its 120 passes" in fit(CARD, BASE, 2, ()).costs["--offload blocks"]
    dear = fit(CARD, BASE, 4, ()).costs
    assert dear["--gradient-checkpointing"] == "120 passes of the UNet in training instead of 80"
    assert "no pictures" in dear["--sample-every 0"]
