"""The DINO scorer's lessons: where a crop lies is told truly, since the patches' contrast is taught by it."""

from __future__ import annotations

import pytest
import torch

from coeffdream.workshop.build import crops
from coeffdream.workshop.build.crops import at, centres, looks_at
from coeffdream.workshop.build.dino import CENTRED, centred, contrast, new_dino, same_points, seen


@pytest.fixture
def ramps() -> torch.Tensor:
    """Pictures whose red is the place across and whose green the place down, in [0, 1]."""
    line = (torch.arange(64) + 0.5) / 64
    picture = torch.stack([line.expand(64, 64), line[:, None].expand(64, 64), torch.full((64, 64), 0.5)])
    return picture.expand(12, -1, -1, -1)


@pytest.fixture
def plain(monkeypatch):
    """Looks that keep the colours."""
    monkeypatch.setattr(crops, "_recoloured", lambda images, strength, generator: images)


def test_a_crop_shows_the_place_that_it_names(ramps, plain):
    """The colour at a point of the crop is the colour at that point's place in the picture, mirrored or not."""
    looks = looks_at(ramps, 48, 0.0, 1.0, torch.Generator().manual_seed(1))
    assert {-1.0, 1.0} == set(looks.half[:, 0].sign().tolist())
    points = centres(6).expand(12, -1, 2)
    places = looks.in_picture(points)
    inside = (places.abs() < 0.95).all(-1)
    assert inside.float().mean() > 0.5
    assert torch.allclose(at(looks.images, points)[inside][:, :2], (places[inside] + 1) / 2, atol=0.01)
    assert torch.allclose(looks.in_crop(places), points, atol=1e-5)


def test_a_look_is_drawn_again_from_its_generator(ramps):
    """The same generator gives the same look, another one another: training resumes to the same batches."""
    first, again, other = (
        looks_at(ramps, 48, 0.0, 1.0, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)
    assert first.images.min() >= 0
    assert first.images.max() <= 1


def test_what_is_not_its_own_is_a_strangers(plain, monkeypatch):
    """Around the kept middle lies another picture of the batch, and `own` says exactly where."""
    monkeypatch.setattr(crops, "AREA", (0.999, 1.0))
    monkeypatch.setattr(crops, "ASPECT", 1.0)
    pictures = (torch.arange(6).float() / 5).view(6, 1, 1, 1).expand(6, 3, 64, 64)
    looks = looks_at(pictures, 64, 1.0, 1.0, torch.Generator().manual_seed(0))
    shares = looks.own.mean((1, 2, 3))
    assert shares.min() > 0.1
    assert shares.max() < 0.9
    points = centres(8).expand(6, -1, 2)
    own = at(looks.own, looks.in_picture(points))[..., 0]
    colour = at(looks.images, points)[..., 0]
    its = pictures[:, 0, 0, :1]
    assert ((colour - its).abs()[own == 1] < 0.01).all()
    assert ((colour - its).abs()[own == 0] > 0.1).all()


def test_patches_are_paired_where_they_show_the_same_point(ramps, plain):
    """Maps that hold the place in the picture have equal codes at the pairs, for a patch that both looks show."""
    generator = torch.Generator().manual_seed(3)
    looks = looks_at(ramps, 64, 0.0, 1.0, generator), looks_at(ramps, 64, 0.0, 1.0, generator)
    grid = centres(8).expand(12, -1, 2)
    maps = []
    for look in looks:
        places = look.in_picture(grid)
        codes = torch.cat([places, torch.ones(12, 64, 1)], -1)
        maps.append(codes.transpose(1, 2).unflatten(2, (8, 8)))
    first, second = same_points(looks, (maps[0], maps[1]), generator)
    assert len(first) > 40
    same = torch.nn.functional.normalize(first, dim=-1)
    assert (same * second).sum(-1).min() > 0.98


def test_patches_that_a_stranger_covers_are_not_paired(ramps, plain):
    """With the middle alone its own, no pair lies outside of it in either look."""
    generator = torch.Generator().manual_seed(4)
    looks = looks_at(ramps, 64, 1.0, 1.0, generator), looks_at(ramps, 64, 1.0, 1.0, generator)
    grid = centres(8).expand(12, -1, 2)
    first_own = at(looks[0].own, looks[0].in_picture(grid)).transpose(1, 2).unflatten(2, (8, 8))
    second_own = at(looks[1].own, looks[1].in_picture(grid)).transpose(1, 2).unflatten(2, (8, 8))
    maps = tuple(torch.cat([own, 1 - own], 1) for own in (first_own, second_own))
    first, _ = same_points(looks, (maps[0], maps[1]), generator)
    assert len(first) > 5
    assert (first[:, 0] > 0.99).all()


def test_contrast_is_least_where_each_finds_its_own():
    """Equal codes of different things cost less than exchanged ones, and the share found says so."""
    codes = torch.eye(6)
    right, found = contrast(codes, codes, 0.2)
    wrong, lost = contrast(codes, codes.roll(1, 0), 0.2)
    assert (found, lost) == (1.0, 0.0)
    assert right < wrong


@torch.no_grad()
def test_centring_takes_a_share_of_the_mean_off_every_picture():
    """Each picture's CLS moves by the same share of the mean over all of them, and by nothing else."""
    torch.manual_seed(0)
    model = new_dino().eval().requires_grad_(False)
    pixels = torch.randint(256, (6, 3, 64, 64), dtype=torch.uint8)
    before = model(seen(pixels)).pooler_output
    after = centred(model, pixels)(seen(pixels)).pooler_output
    assert before.mean(0).norm() > 0.1
    assert torch.allclose(after, before - CENTRED * before.mean(0), atol=1e-5)
