"""The arms of `study vit`: what each trains and at what rate, that they are paired, and what they cost."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import TensorDataset

from coeffdream.adapters.hosts.coefficients import add_coefficients
from coeffdream.studies.fit import fit
from coeffdream.studies.vit_arms import install
from coeffdream.studies.vit_backbone import Backbone, Look, small
from coeffdream.studies.vit_flops import gflops
from coeffdream.studies.vit_options import ARMS, WITHOUT, VitOptions, method_of

# Part of the name of every parameter that an arm trains beside the head.
TRAINED = {
    "": (),
    "linear": (),
    "bitfit": (".bias",),
    "lora": (".lora_A.", ".lora_B."),
    "dora": (".lora_A.", ".lora_B.", ".lora_magnitude_vector."),
    "oft": (".oft_R.",),
    "full": ("",),
}


@pytest.fixture(scope="session")
def backbone() -> Backbone:
    return Backbone("random", small(3), Look())


def pictures(count: int = 6) -> TensorDataset:
    """Noise whose first pixel is its number."""
    pixels = torch.randint(0, 255, (count, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    pixels[:, 0, 0, 0] = torch.arange(count)
    return TensorDataset(pixels.to(torch.uint8), torch.arange(count) % 3)


@pytest.mark.parametrize("arm", ARMS)
def test_an_arm_trains_what_it_says(backbone, arm):
    """Of all parameters exactly those get a gradient, the head's among them, and each is in one group."""
    model = backbone.for_task(3, seed=0)
    groups = install(model, arm, VitOptions(), seed=0)
    batch = Look().batch([pictures()[number] for number in range(6)])
    model(**batch).loss.backward()
    moved = {name for name, each in model.named_parameters() if each.grad is not None}
    parts = TRAINED[method_of(arm)]
    parts += (".alpha",) if "coeff" in arm else ()
    expected = {
        name
        for name, _ in model.named_parameters()
        if name.startswith("classifier.") or any(part in name for part in parts)
    }
    assert moved == expected
    grouped = [id(each) for group in groups.values() for each in group.parameters]
    assert sorted(grouped) == sorted(id(each) for name, each in model.named_parameters() if name in expected)


@pytest.mark.parametrize("arm", sorted(WITHOUT))
def test_step_0_with_alpha_is_step_0_without(backbone, arm):
    """Head and adapter begin alike, and alpha at zero changes nothing: to the last bit."""
    batch = Look().batch([pictures()[number] for number in range(6)])
    said = []
    for each in (arm, WITHOUT[arm]):
        model = backbone.for_task(3, seed=1)
        install(model, each, VitOptions(), seed=1)
        with torch.no_grad():
            said.append(model.eval()(**batch).logits)
    assert torch.equal(*said)
    other = backbone.for_task(3, seed=2)
    assert not torch.equal(other.classifier.weight, backbone.for_task(3, seed=1).classifier.weight)


def test_arms_of_one_seed_see_the_pictures_in_one_order(backbone):
    """Also in the second epoch, whatever the dropout of alpha drew before."""

    class Seen(Look):
        def batch(self, items):
            order.append([int(picture[0, 0, 0]) for picture, _ in items])
            return super().batch(items)

    orders = []
    for arm, seed in (("lora", 5), ("coeff-lora", 5), ("lora", 6)):
        order: list[list[int]] = []
        model = backbone.for_task(3, seed)
        groups = install(model, arm, VitOptions(), seed)
        fit(
            model,
            list(groups.values()),
            pictures(12),
            Seen().batch,
            epochs=2,
            batch_size=4,
            seed=seed,
            device="cpu",
            tell=lambda step, steps: None,
        )
        orders.append(order)
    assert orders[0] == orders[1] != orders[2]
    assert orders[0][:3] != orders[0][3:]


def test_training_leaves_torchs_generator_as_it_was(backbone):
    """Trainer seeds it; whoever draws afterwards must not notice."""
    before = torch.random.get_rng_state()
    model = backbone.for_task(3, 0)
    groups = list(install(model, "coeff-lora", VitOptions(), 0).values())
    options = {"epochs": 1, "batch_size": 6, "seed": 0, "device": "cpu", "tell": lambda step, steps: None}
    fit(model, groups, pictures(), Look().batch, **options)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_vit_b_16_has_the_papers_count():
    """12 layers of 12 heads: 1,728 coefficients, of shapes alone."""
    from transformers import ViTConfig, ViTForImageClassification

    with torch.device("meta"):
        model = ViTForImageClassification(ViTConfig())
    assert sum(each.alpha.numel() for each in add_coefficients(model).values()) == 1728


def test_flops_are_those_of_the_definition(backbone, monkeypatch):
    """Alpha adds Q K^T, the mixing and A V in each layer, whichever backend computes it."""
    plain = gflops(backbone.for_task(3, 0), 32)
    model = backbone.for_task(3, 0)
    add_coefficients(model)
    added = []
    for backend in ("reference", "chunked"):
        monkeypatch.setenv("COEFFDREAM_ATTENTION", backend)
        monkeypatch.setattr("coeffdream.attention.choice._chosen", {})
        added.append(gflops(model, 32) - plain)
    tokens, heads, width, layers = 17, 4, 16, 4
    assert added == pytest.approx([layers * 2 * heads * tokens**2 * (2 * width + heads) / 1e9] * 2)
    head = 2 * 64 * 3
    patches = 2 * 16 * 64 * 3 * 64
    block = 2 * tokens * (4 * 64 * 64 + 2 * 64 * 128) + 4 * heads * tokens**2 * width
    assert plain == pytest.approx((patches + layers * block + head) / 1e9)


def test_rates_are_the_arms_own_unless_typed(backbone):
    """Arms that are compared differ in alpha alone; what is typed is what every arm gets."""
    for arm, without in WITHOUT.items():
        rates = [
            {
                kind: group.lr
                for kind, group in install(backbone.for_task(3, 0), each, VitOptions(), 0).items()
            }
            for each in (arm, without)
        ]
        assert {kind: rates[0][kind] for kind in rates[1]} == rates[1]
        assert set(rates[0]) - set(rates[1]) == {"alpha"}
    typed = VitOptions(head_lr=0.5, lr=0.25, coeff_lr=0.125)
    groups = install(backbone.for_task(3, 0), "coeff-lora", typed, 0)
    assert {kind: group.lr for kind, group in groups.items()} == {"head": 0.5, "own": 0.25, "alpha": 0.125}
