"""`study ablation`: each arm differs from the usual alpha in the one thing that its name says."""

from __future__ import annotations

import pytest
import torch

from coeffdream.adapters.hosts.coefficients import coefficients_of
from coeffdream.errors import ConfigError
from coeffdream.progress import silent
from coeffdream.studies.ablation_options import ABLATED, NONE, USUAL, AblationOptions
from coeffdream.studies.vit import study
from coeffdream.studies.vit_arms import install
from coeffdream.studies.vit_backbone import Backbone, Look, small
from coeffdream.studies.vit_options import VitOptions


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return Backbone("random", small(3), Look())


def installed(backbone, arm, **options):
    model = backbone.for_task(3, seed=0)
    return model, install(model, arm, AblationOptions(**options), seed=0)


# Per layer: how many coefficients, how many groups, dropout and parametrisation; of the four layers which have them.
EXPECTED = {
    NONE: [],
    USUAL: [(16, 1, 0.0, "residual")] * 4,
    "direct-identity": [(16, 1, 0.0, "direct-identity")] * 4,
    "direct-random": [(16, 1, 0.0, "direct-random")] * 4,
    "dropout-0.1": [(16, 1, 0.1, "residual")] * 4,
    "dropout-0.2": [(16, 1, 0.2, "residual")] * 4,
    "dropout-0.5": [(16, 1, 0.5, "residual")] * 4,
    "first-half": [(16, 1, 0.0, "residual")] * 2,
    "second-half": [(16, 1, 0.0, "residual")] * 2,
    "groups-2": [(8, 2, 0.0, "residual")] * 4,
    "groups-4": [(4, 4, 0.0, "residual")] * 4,
}


@pytest.mark.parametrize("arm", ABLATED)
def test_an_arm_is_what_its_name_says(backbone, arm):
    """And nothing else is trained but the head."""
    model, groups = installed(backbone, arm)
    made = coefficients_of(model)
    assert [
        (each.alpha.numel(), each.groups, each.dropout, each.parametrisation) for each in made.values()
    ] == EXPECTED[arm]
    trained = sum(each.numel() for each in model.parameters() if each.requires_grad)
    assert trained == 3 * 65 + sum(each[0] for each in EXPECTED[arm])
    assert set(groups) == ({"head"} if arm == NONE else {"head", "alpha"})


def test_the_halves_are_the_layers(backbone):
    halves = [set(coefficients_of(installed(backbone, f"{half}-half")[0])) for half in ("first", "second")]
    assert halves[0] | halves[1] == set(coefficients_of(installed(backbone, USUAL)[0]))
    assert sorted(path.split(".")[-2] for path in halves[0]) == ["0", "1"]


def test_only_random_alpha_changes_the_model_before_training(backbone):
    """Every other arm begins as the untouched model does; random values do not, and differ between seeds."""
    pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain, *others = (
            installed(backbone, arm)[0].eval()(pixel_values=pixels).logits
            for arm in (NONE, USUAL, "direct-identity", "groups-2", "direct-random")
        )
        for same in others[:-1]:
            torch.testing.assert_close(same, plain, rtol=1e-5, atol=1e-6)
        assert not torch.allclose(others[-1], plain, rtol=0.01)
        model = backbone.for_task(3, seed=0)
        install(model, "direct-random", AblationOptions(), seed=1)
        assert not torch.equal(model.eval()(pixel_values=pixels).logits, others[-1])


@pytest.mark.parametrize("beside", ["linear", "lora"])
def test_rates_are_those_of_study_vit(beside):
    """All arms have one set, that of alpha alone or beside the method."""
    usual = VitOptions().rates("coeff" if beside == "linear" else f"coeff-{beside}")
    assert all(AblationOptions(beside=beside).rates(arm) == usual for arm in ABLATED)


def test_beside_a_method_it_is_trained_too(backbone):
    _, groups = installed(backbone, NONE, beside="lora")
    assert set(groups) == {"head", "own"}


def test_the_study(tmp_path):
    """Cells of every arm, in a folder that is no study of ViT."""
    tiny = {"tasks": "place", "arms": "none,residual,groups-2", "seeds": 1, "epochs": 1, "device": "cpu"}
    tiny |= {"train_images": 8, "test_images": 4, "pretrain_images": 8, "pretrain_epochs": 1}
    cells = study(tmp_path / "out", AblationOptions(**tiny), silent)
    assert [(cell.arm, cell.parameters) for cell in cells] == [
        ("none", 0),
        ("residual", 64),
        ("groups-2", 32),
    ]


def test_arms_of_another_study_are_refused():
    with pytest.raises(ConfigError, match=r"--arms 'coeff-lora': there are none, residual"):
        AblationOptions(arms="none,coeff-lora").check()
