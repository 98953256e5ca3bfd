"""`study vit`: a study goes on where it was, and what makes none is refused."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image

from coeffdream.errors import BaseModelError, ConfigError, NonFiniteLossError, RunError, UserError
from coeffdream.progress import silent
from coeffdream.studies import vit
from coeffdream.studies.vit import study
from coeffdream.studies.vit_arms import install
from coeffdream.studies.vit_backbone import Look, named
from coeffdream.studies.vit_options import VitOptions

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
