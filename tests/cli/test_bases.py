"""Bases as they are named on the command line: what is said of them, recorded, and kept to afterwards."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from coeffdream.backbones.base import find_base
from coeffdream.backbones.load import meta_unet
from coeffdream.cli import bases
from coeffdream.records.images import find_set
from coeffdream.records.run import RunFolder

QUICK = ("--steps", 2, "--sample-every", 0, "--device", "cpu")


@pytest.fixture(scope="session")
def original(two_widths, original_layout, tmp_path_factory) -> tuple[Path, Path]:
    """A miniature in one file whose header says v with zero terminal SNR, and the folder of its configs."""
    file = tmp_path_factory.mktemp("original") / "v.safetensors"
    keys = {"v_pred": torch.tensor([]), "ztsnr": torch.tensor([])}
    return original_layout.write_original(
        two_widths, file, meta_unet(find_base(str(two_widths))), keys
    ), two_widths


def test_a_single_file_from_training_to_pictures(cli, cat_folder, original, tmp_path):
    """Its kind is said, what it predicts is recorded as used, and pictures are drawn as it was trained."""
    file, folder = original
    named = ("--base", file, "--base-config", folder)
    answer = cli("train", "--concept", cat_folder, *named, *QUICK, "--name", "one")
    assert answer.status == 0, answer.err
    assert f"base {file}: SDXL in a single file, v-prediction with zero terminal SNR" in answer.err
    run = RunFolder(tmp_path / "runs" / "one")
    record = run.read()
    assert (record.config.prediction, record.config.base_config) == ("v", str(folder))
    assert (record.base.kind, record.base.base_config, record.base.prediction) == ("file", str(folder), None)
    assert cli("generate", "--run", "one", "<V> cat", "--images-per-prompt", 1, "--steps", 1).status == 0
    assert find_set(run.images, None).read_set().settings.base == record.base
    prior = cli(
        "train", "--concept", cat_folder, *named, *QUICK, "--name", "other", "--prediction", "epsilon"
    )
    assert "epsilon by --prediction" in prior.err
    other = RunFolder(tmp_path / "runs" / "other").read()
    assert (other.config.prediction, other.base.prediction) == ("epsilon", "epsilon")
    assert not other.base.same_as(record.base)
    again = cli("generate", "--run", "other", "<V> cat", "--images-per-prompt", 1, "--steps", 1)
    assert "epsilon by --prediction" in again.err  # without being told again


def test_what_auto_became_is_recorded_and_kept(cli, cat_folder, tiny_base, tmp_path):
    """run.json says what was used; a resumed run keeps its precision, also one that only said auto, as older ones do."""
    assert cli("train", "--concept", cat_folder, "--base", tiny_base, *QUICK, "--name", "mine").status == 0
    file = tmp_path / "runs" / "mine" / "run.json"
    record = json.loads(file.read_text())
    used = {name: record["config"][name] for name in ("device", "precision", "prediction")}
    assert used == {"device": "cpu", "precision": "fp32", "prediction": "epsilon"}
    record["config"] |= {"device": "auto", "precision": "auto"}  # as version 0.1.0 wrote it
    for name in ("prediction", "revision", "base_config"):
        del record["config"][name]
    file.write_text(json.dumps(record))
    answer = cli("train", "--resume", "mine", "--steps", 3, "--device", "cpu")
    assert answer.status == 0, answer.err
    assert RunFolder(file.parent).read().config.precision == "fp32"
    refused = cli("train", "--resume", "mine", "--steps", 4, "--precision", "bf16")
    assert refused.status == 2
    assert "--precision was 'fp32' and is now 'bf16'" in refused.err


def test_a_run_of_a_device_that_is_gone(cli, cat_folder, tiny_base, tmp_path):
    """Trained on a card, copied here: it goes on, in the same precision, and says so."""
    started = cli(
        "train", "--concept", cat_folder, "--base", tiny_base, *QUICK, "--precision", "bf16", "--name", "mine"
    )
    assert started.status == 0
    file = tmp_path / "runs" / "mine" / "run.json"
    file.write_text(file.read_text().replace('"device": "cpu"', '"device": "cuda:63"'))
    answer = cli("train", "--resume", "mine", "--steps", 3)
    assert answer.status == 0, answer.err
    assert "warning: mine was trained on cuda:63, which is not here" in answer.err
    assert RunFolder(file.parent).read().config.precision == "bf16"


def test_a_large_base_on_a_cpu(cli, cat_folder, tiny_base, monkeypatch):
    """A person is told before hours are spent, with what to do; of a miniature there is nothing to say."""
    command = ("train", "--concept", cat_folder, "--base", tiny_base, *QUICK)
    told = "SDXL on a CPU takes hours for a run; to see what coeffdream does, --base toybox"
    assert told not in cli(*command).err
    monkeypatch.setattr(bases, "LARGE", 1000)
    assert told in cli(*command).err


def test_a_dry_run_says_what_the_base_is(cli, cat_folder, tiny_base, tmp_path):
    """And what auto would be; a folder's scheduler counts."""
    folder = Path(shutil.copytree(tiny_base, tmp_path / "v"))
    file = folder / "scheduler" / "scheduler_config.json"
    file.write_text(file.read_text().replace('"epsilon"', '"v_prediction"'))
    answer = cli("train", "--dry-run", "--concept", cat_folder, "--base", folder, "--device", "cpu")
    assert f"base {folder}: SDXL in diffusers' layout, v-prediction" in answer.err
    assert "precision                fp32" in answer.err
