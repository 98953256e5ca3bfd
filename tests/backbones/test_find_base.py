"""What --base may name, and what a base says of itself."""

from __future__ import annotations

import json

import pytest

from coeffdream.backbones import base as base_module
from coeffdream.backbones.base import SDXL_ID, BaseSettings, find_base, read_settings
from coeffdream.errors import BaseModelError
from coeffdream.resolve import resolve


def refused(name: str, *said: str) -> None:
    with pytest.raises(BaseModelError) as caught:
        find_base(name)
    message = str(caught.value)
    assert "\n" not in message
    for part in (name, *said):
        assert part in message


def test_sdxl_is_the_hubs():
    """The default base, with the settings that SDXL asks for."""
    base = find_base("sdxl")
    assert (base.kind, base.source) == ("hub", SDXL_ID)
    assert (base.settings.resolution, base.settings.sampling_steps, base.settings.guidance_scale) == (
        1024,
        30,
        5.0,
    )
    assert base.settings.training == {"resolution": 1024, "gradient_checkpointing": True}
    assert not base.is_toybox


def test_a_hub_id_is_a_hub_id():
    """owner/name, when no such folder exists."""
    base = find_base("Owner-1/some_model.v2")
    assert (base.kind, base.source) == ("hub", "Owner-1/some_model.v2")


def test_a_folder_in_diffusers_layout(tiny_base):
    """Its own settings lie over SDXL's."""
    base = find_base(str(tiny_base))
    assert (base.kind, base.source) == ("folder", str(tiny_base))
    assert (base.settings.resolution, base.settings.sampling_steps, base.settings.guidance_scale) == (
        32,
        2,
        3.0,
    )


def test_the_embedded_base_is_a_folder_like_any_other(tiny_base, monkeypatch):
    """Only its name and its place are special."""
    monkeypatch.setattr(base_module, "TOYBOX", tiny_base)
    base = find_base("toybox")
    assert base.is_toybox
    assert (base.source, base.settings.resolution) == (str(tiny_base), 32)


def test_an_installation_without_the_embedded_base_says_so(tmp_path, monkeypatch):
    """A broken wheel, say."""
    monkeypatch.setattr(base_module, "TOYBOX", tmp_path)
    with pytest.raises(BaseModelError, match=r"not in this installation .*; install coeffdream again"):
        find_base("toybox")


def test_names_that_are_nothing_list_what_would_be_something():
    """A misspelled built-in name, a path that is not there."""
    for name in ("sdxI", "toybocks", "./no/such/folder", "~/nowhere", "a b/c"):
        refused(name, "sdxl", "toybox", "folder", ".safetensors")


def test_a_folder_of_another_kind(tmp_path):
    """A folder of photos, or only the unet/ of a model."""
    refused(str(tmp_path), "without model_index.json", "diffusers' layout")


@pytest.mark.parametrize("name", ["model.ckpt", "model.pt", "model.bin", "model.pth", "model"])
def test_pickled_checkpoints_are_never_opened(tmp_path, name):
    """Opening one runs its code."""
    (tmp_path / name).write_bytes(b"\x80\x04.")
    refused(str(tmp_path / name), "not a .safetensors file", "never opened")


def test_a_safetensors_checkpoint_is_a_file(tmp_path):
    """Opened only when it is loaded."""
    (tmp_path / "model.safetensors").touch()
    assert find_base(str(tmp_path / "model.safetensors")).kind == "file"


def test_settings_become_the_defaults_of_training(tmp_path):
    """By the names of TrainConfig's fields; those of sampling stay with the base."""
    values = {
        "resolution": 64,
        "learning_rate": 1e-3,
        "coeff_learning_rate": 1e-2,
        "train_steps": 50,
        "batch_size": 2,
        "rank": 4,
        "precision": "fp32",
        "gradient_checkpointing": False,
        "sampling_steps": 8,
        "sampling_batch_size": 4,
        "guidance_scale": 2,
    }
    assert values.keys() == vars(BaseSettings()).keys()
    (tmp_path / "model_index.json").write_text("{}")
    (tmp_path / "coeffdream.json").write_text(json.dumps(values))
    base = find_base(str(tmp_path))
    result = resolve({"rank": 8}, recommended=base.settings.training)
    config = result.config
    assert (config.resolution, config.lr, config.coeff_lr, config.steps) == (64, 1e-3, 1e-2, 50)
    assert (config.batch_size, config.rank, config.precision) == (2, 8, "fp32")
    assert result.origins["lr"] == "base"
    assert (
        base.settings.sampling_steps,
        base.settings.sampling_batch_size,
        base.settings.guidance_scale,
    ) == (8, 4, 2)


def test_a_base_without_settings_has_none(tmp_path):
    """Most have none."""
    assert read_settings(tmp_path) == BaseSettings()


@pytest.mark.parametrize("content", ["{", "[1]", '"text"', b"\xff\xfe", '{"learning_rate": NaN}'])
def test_settings_that_are_no_json_object(tmp_path, content):
    """Named with the remedy."""
    file = tmp_path / "coeffdream.json"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BaseModelError, match="repair or remove it") as caught:
        read_settings(tmp_path)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        '"resolution": "large"',
        '"resolution": 64.5',
        '"train_steps": true',
        '"sampling_steps": 0',
        '"learning_rate": "fast"',
        '"guidance_scale": -1',
        '"precision": 16',
        '"gradient_checkpointing": 1',
    ],
)
def test_settings_of_the_wrong_kind(tmp_path, wrong):
    """They would surface much later, as something else."""
    (tmp_path / "coeffdream.json").write_text(f'{{{wrong}, "rank": 2}}')
    name = wrong.split('"')[1]
    with pytest.raises(BaseModelError, match=f"settings that cannot be used: {name} .* is not "):
        read_settings(tmp_path)


def test_all_wrong_settings_are_reported_together(tmp_path):
    """Like every other list of problems; a misspelled one must not vanish."""
    (tmp_path / "coeffdream.json").write_text('{"rank": 0, "batch_size": "2", "train_step": 9}')
    with pytest.raises(BaseModelError) as caught:
        read_settings(tmp_path)
    for part in (
        "3 problems",
        "rank 0 is not a positive whole number",
        "batch_size '2' is not",
        "train_step (did you mean train_steps?)",
    ):
        assert part in str(caught.value)
