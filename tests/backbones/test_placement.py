"""Models that take turns on a device, pictures decoded in tiles, and when either is asked for."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from coeffdream.backbones import placement as placing
from coeffdream.backbones.encode import decode_latents
from coeffdream.backbones.footprint import NOT_COUNTED, TEXT, UNET, VAE
from coeffdream.backbones.placement import Placement, place, placement
from coeffdream.backbones.tiles import TILE, in_tiles
from coeffdream.backbones.variants import STEMS

CPU, CARD = (
    torch.device("cpu"),
    torch.device("meta"),
)  # a device that every machine has, and that is not the CPU


class Part(nn.Module):
    def __init__(self):
        super().__init__()
        self.to(CPU)

    def to(self, device):  # there would be nothing to bring back from the meta device
        self.weight = nn.Parameter(torch.zeros(1, device=device))


@pytest.fixture
def on_a_card(components):
    """The components with parts of one number, which can be seen to move."""
    return dataclasses.replace(components, **{part: Part() for part in STEMS}, device=CARD)


def where(components):
    return {part for part in STEMS if getattr(components, part).weight.device == CARD}


def test_all_together_unless_they_take_turns(on_a_card):
    """What works comes to the device and goes home again; what is there stays."""
    on_a_card.move(["unet"], CARD)
    with on_a_card.at_work("vae"):
        assert where(on_a_card) == {"unet", "vae"}
    assert where(on_a_card) == {"unet"}


def test_taking_turns(on_a_card):
    """One at a time, and afterwards each where it was, an error or not."""
    on_a_card.offload = "model"
    on_a_card.move(["unet"], CARD)
    for part in ("vae", "text_encoder", "unet"):
        with on_a_card.at_work(part):
            assert where(on_a_card) == {part}
        assert where(on_a_card) == {"unet"}
    with pytest.raises(RuntimeError), on_a_card.at_work("vae"):
        raise RuntimeError
    assert where(on_a_card) == {"unet"}


def test_parts_that_were_let_go_are_nowhere(on_a_card):
    """After the last prompt there are no text encoders to move."""
    gone = dataclasses.replace(on_a_card, offload="model", text_encoder=None, text_encoder_2=None)
    with gone.at_work("vae"):
        assert gone.vae.weight.device == CARD


def test_the_pipeline_works_where_it_is_told(components):
    """And not where the VAE happens to wait while the UNet draws."""
    elsewhere = dataclasses.replace(components, device=CARD)
    assert elsewhere.vae.device == CPU
    assert elsewhere.pipeline._execution_device == CARD


@pytest.mark.parametrize(
    ("memory", "wanted"),
    [
        (1000, Placement("none", False)),
        (140, Placement("none", False)),
        (139, Placement("model", False)),
        (110, Placement("model", False)),
        (109, Placement("model", True)),
        (None, Placement("none", False)),
    ],
)
def test_what_memory_asks_for(memory, wanted, monkeypatch):
    """Everything together while that fits, then turns, which are exact, and tiles at last."""
    monkeypatch.setattr(placing, "decoding", lambda vae, size, tiling: 25 if tiling else 100)
    monkeypatch.setattr(placing, "encoding_photo", lambda vae, size: 50)
    given = {"weights": {UNET: 30, VAE: 10, TEXT: 20}, "vae": None, "device": "cuda"}
    total = None if memory is None else memory + NOT_COUNTED
    assert placement("auto", None, **given, size=TILE + 8, memory=total) == wanted
    assert placement("auto", None, **given, size=TILE, memory=total) == Placement("none", False)
    for asked in ("none", "model", "blocks"):
        assert placement(asked, False, **given, size=TILE + 8, memory=total) == Placement(asked, False)
    on_cpu = placement("auto", None, **given | {"device": "cpu"}, size=TILE + 8, memory=total)
    assert on_cpu == Placement("none", memory is not None and memory < 140)


def test_placing_a_base(components):
    """Under turns every part waits on the CPU, to come to the device when it works."""
    whole = dataclasses.replace(components)
    place(whole, "auto", None, 32)
    assert (whole.offload, whole.vae_tiling) == ("none", False)
    for asked in ("model", "blocks"):
        place(whole, asked, True, 32)
        assert (whole.offload, whole.vae_tiling) == ("none", True)  # on a CPU there is nowhere to go


@torch.no_grad()
def test_tiles_change_only_what_is_large(components, monkeypatch):
    """What fits into a tile is the same to the last bit, and afterwards the VAE is as before."""
    monkeypatch.setattr("coeffdream.backbones.tiles.TILE", 64)
    vae = components.vae
    for side, same in ((16, True), (32, False)):
        latents = torch.randn(1, 4, side, side, generator=torch.Generator().manual_seed(0))
        with in_tiles(vae, False):
            plain = vae.decode(latents, return_dict=False)[0]
        with in_tiles(vae, True):
            tiled = vae.decode(latents, return_dict=False)[0]
        assert plain.shape == tiled.shape
        assert torch.equal(plain, tiled) is same
    assert not vae.use_tiling


def test_pictures_are_decoded_in_tiles_where_that_was_chosen(components, monkeypatch):
    """The components say so, and nothing else."""
    seen = []
    decode = components.vae.decode
    monkeypatch.setattr(
        components.vae,
        "decode",
        lambda *given, **more: (seen.append(components.vae.use_tiling), decode(*given, **more))[1],
    )
    for chosen in (False, True):
        decode_latents(dataclasses.replace(components, vae_tiling=chosen), torch.zeros(1, 4, 8, 8))
    assert seen == [False, True]
