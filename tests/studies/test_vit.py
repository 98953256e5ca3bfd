"""`study vit`: what each arm trains, that arms are paired, and that a study goes on where it was."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

from coeffdream.errors import BaseModelError, ConfigError, NonFiniteLossError, RunError, UserError
from coeffdream.hosts.coefficients import add_coefficients
from coeffdream.progress import silent
from coeffdream.studies import vit
from coeffdream.studies.fit import fit
from coeffdream.studies.vit import study
from coeffdream.studies.vit_arms import install
from coeffdream.studies.vit_backbone import Backbone, Look, named, small
from coeffdream.studies.vit_flops import gflops
from coeffdream.studies.vit_options import ARMS, WITHOUT, VitOptions, method_of

TINY = {
    "tasks": "place",
    "arms": "linear,coeff",
    "seeds": 1,
    "epochs": 1,
    "train_images": 8,
    "test_images": 4,
    "pretrain_images": 8,
    "pretrain_epochs": 1,
    "device": "cpu",
}
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


@pytest.fixture
def trained(monkeypatch):
    """The cells that were trained; `stop_at`: which one a person interrupts."""
    calls = {"cells": [], "stop_at": 0}
    real = vit.train_cell

    def call(task, arm, seed, *rest):
        calls["cells"].append((arm, seed))
        if len(calls["cells"]) == calls["stop_at"]:
            raise KeyboardInterrupt
        return real(task, arm, seed, *rest)

    monkeypatch.setattr(vit, "train_cell", call)
    return calls


def test_a_study_that_was_interrupted_goes_on(tmp_path, trained):
    """Nothing is trained twice, the backbone neither; the result is that of a study left alone."""
    options = VitOptions(**{**TINY, "seeds": 2})
    trained["stop_at"] = 3
    with pytest.raises(KeyboardInterrupt):
        study(tmp_path / "out", options, silent)
    weights = (tmp_path / "out" / "backbone" / "model.safetensors").stat().st_mtime_ns
    cells = study(tmp_path / "out", options, silent)
    wanted = [("linear", 0), ("coeff", 0), ("linear", 1), ("coeff", 1)]
    assert trained["cells"] == [*wanted[:3], *wanted[2:]]
    assert [(cell.arm, cell.seed) for cell in cells] == wanted
    assert (tmp_path / "out" / "backbone" / "model.safetensors").stat().st_mtime_ns == weights
    assert study(tmp_path / "other", options, silent) == cells
    more = study(tmp_path / "out", VitOptions(**{**TINY, "seeds": 3}), silent)
    assert [cell for cell in more if cell.seed < 2] == cells
    assert trained["cells"][-2:] == [("linear", 2), ("coeff", 2)]


def test_another_study_in_the_folder_is_refused(tmp_path, trained):
    """Cells of other options would be compared with these."""
    out = tmp_path / "out"
    study(out, VitOptions(**{**TINY, "arms": "linear"}), silent)
    with pytest.raises(RunError, match=r"--epochs 1, and this one has --epochs 2; choose another --out"):
        study(out, VitOptions(**{**TINY, "epochs": 2}), silent)
    (out / "cells" / "place.linear.0.json").write_text("{")
    with pytest.raises(RunError, match=r"place\.linear\.0\.json is damaged"):
        study(out, VitOptions(**{**TINY, "arms": "linear"}), silent)
    assert len(trained["cells"]) == 1


def test_a_training_that_diverges_is_told(tmp_path, monkeypatch):
    """With the task, the arm and what to lower; the cells before it stay."""
    real = vit.install

    def broken(model, arm, *rest):
        groups = real(model, arm, *rest)
        if arm == "full":
            groups["own"].parameters[0].data.fill_(float("nan"))
        return groups

    monkeypatch.setattr(vit, "install", broken)
    with pytest.raises(NonFiniteLossError, match=r"place, full, seed 0: the loss is nan; .* lower --head-lr"):
        study(tmp_path / "out", VitOptions(**{**TINY, "arms": "linear,full"}), silent)
    assert [file.name for file in (tmp_path / "out" / "cells").iterdir()] == ["place.linear.0.json"]


def test_a_folder_of_pictures_is_one_task(tmp_path, trained):
    """Its name is the folder's, and it is learned instead of the others."""
    for split in ("train", "test"):
        for name in ("blue", "red"):
            (tmp_path / "colors" / split / name).mkdir(parents=True)
            Image.new("RGB", (40, 20), name).save(tmp_path / "colors" / split / name / "0.png")
    options = VitOptions(**{**TINY, "tasks": None, "data": str(tmp_path / "colors"), "arms": "linear"})
    [cell] = study(tmp_path / "out", options, silent)
    assert (cell.task, cell.tested, cell.head_parameters) == ("colors", 2, 2 * 65)


@pytest.mark.parametrize("change", [{"data": "no/such/folder", "tasks": None}, {"train_images": 1001}])
def test_pictures_that_are_not_there(tmp_path, change):
    """Told before the backbone is pretrained, and nothing is left behind."""
    options = VitOptions(**{**TINY, "tasks": "place,digits", **change})
    with pytest.raises(ConfigError, match=r"has no train/|of the digits 1,000"):
        study(tmp_path / "out", options, silent)
    assert not (tmp_path / "out").exists()


def test_an_out_that_is_a_file(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(ConfigError, match="is a file"):
        study(tmp_path / "out", VitOptions(**TINY), silent)
    assert (tmp_path / "out").read_text() == "mine"


def test_a_backbone_that_is_not_there():
    """Offline, and by a name that the hub could not have."""
    with pytest.raises(BaseModelError, match="--backbone nobody/nothing was not loaded"):
        named("nobody/nothing")
    with pytest.raises(BaseModelError, match="was not loaded"):
        named("./no/such/folder")


@pytest.mark.parametrize(
    ("network", "processor"),
    [
        ("ViT", {"image_processor_type": "ViTImageProcessor", "size": {"height": 28, "width": 28}}),
        ("DeiT", {"image_processor_type": "DeiTImageProcessor", "crop_size": {"height": 28, "width": 28}}),
        (
            "Dinov2",
            {
                "image_processor_type": "BitImageProcessor",
                "size": {"shortest_edge": 40},
                "crop_size": {"height": 28, "width": 28},
            },
        ),
    ],
)
def test_backbones_by_name(tmp_path, network, processor):
    """Each kind that the docs name, from its folder: its own look, a new head, LoRA and alpha in every layer."""
    import transformers

    config = getattr(transformers, f"{network}Config")(
        hidden_size=24,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        image_size=28,
        patch_size=14,
    )
    getattr(transformers, f"{network}ForImageClassification")(config).save_pretrained(tmp_path / "net")
    look = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.1, 0.2, 0.3]}
    (tmp_path / "net" / "preprocessor_config.json").write_text(json.dumps(processor | look))
    loaded = named(str(tmp_path / "net"))
    assert loaded.look == Look(28, (0.4, 0.5, 0.6), (0.1, 0.2, 0.3))
    model = loaded.for_task(5, seed=0)
    groups = install(model, "coeff-lora", VitOptions(), seed=0)
    assert sum(each.numel() for each in groups["alpha"].parameters) == 2 * 9
    assert sum(each.numel() for each in groups["own"].parameters) == 2 * 2 * 4 * (24 + 24)
    assert model(pixel_values=torch.zeros(1, 3, 28, 28)).logits.shape == (1, 5)


@pytest.mark.parametrize("network", ["MobileNetV2", "ResNet"])
def test_a_backbone_without_heads_to_mix(tmp_path, trained, network):
    """Refused before anything is trained."""
    import transformers

    small_ones = {
        "MobileNetV2": {"depth_multiplier": 0.1},
        "ResNet": {"embedding_size": 4, "hidden_sizes": [4, 4], "depths": [1, 1]},
    }
    config = getattr(transformers, f"{network}Config")(**small_ones[network])
    getattr(transformers, f"{network}ForImageClassification")(config).save_pretrained(tmp_path / "net")
    processor = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}}
    (tmp_path / "net" / "preprocessor_config.json").write_text(json.dumps(processor))
    with pytest.raises(UserError, match=r"no attention layer|no linear head"):
        study(tmp_path / "out", VitOptions(**{**TINY, "backbone": str(tmp_path / "net")}), silent)
    assert not trained["cells"]
    assert not (tmp_path / "out").exists()


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


@pytest.mark.parametrize(
    "change",
    [
        {"seeds": 0},
        {"epochs": 10**6},
        {"coeff_lr": float("nan")},
        {"head_lr": 0},
        {"lr": -1.0},
        {"coeff_dropout": 1.0},
        {"tasks": "kind"},
        {"tasks": ""},
        {"tasks": "digits", "data": "photos"},
        {"arms": "linear,adalora"},
        {"heads": 3},
        {"heads": 0},
        {"heads": 8, "backbone": "net"},
    ],
)
def test_what_makes_no_study(change):
    """Each by the name of its option."""
    flag = next(iter(change)).replace("_", "-")
    with pytest.raises(ConfigError, match=f"--{flag}"):
        VitOptions(**change).check()
