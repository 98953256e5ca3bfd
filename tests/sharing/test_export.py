"""Exports of a run: exact where they can be, with their error where not, and never silent about alpha."""

from __future__ import annotations

import pytest
import torch

from coeffdream.adapters.files import load_adapter
from coeffdream.backbones.base import find_base
from coeffdream.backbones.load import load_components
from coeffdream.errors import ConfigError, RunError
from coeffdream.interop.write import changes_of
from coeffdream.progress import silent
from coeffdream.records.run import LORA_FILE
from coeffdream.sharing.export import ExportRequest, export


def loaded(base: str):
    return load_components(find_base(base), device=torch.device("cpu"), dtype=torch.float32)


def exported(run, **wanted):
    record = run.read()
    base = find_base(record.base.name)
    return export(ExportRequest(**wanted), run, record, base, progress=silent, warn=pytest.fail)


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_a_merged_base_draws_what_the_adapter_draws(trained_run, predict, method):
    """Exact up to float32's rounding, as a diffusers folder that --base takes, settings and all."""
    run = trained_run(method)
    made = exported(run, form="merged")
    ours = loaded(run.read().base.name)
    untouched = predict(ours.unet)
    load_adapter(ours.unet, run.adapter, ours.architecture)
    merged = loaded(str(made.path))
    assert (predict(merged.unet) - predict(ours.unet)).abs().max() < 1e-5
    assert (predict(merged.unet) - untouched).abs().max() > 1e-3
    assert (
        find_base(str(made.path)).settings.resolution == find_base(run.read().base.name).settings.resolution
    )
    with pytest.raises(ConfigError, match="there already"):
        exported(run, form="merged")


def test_alpha_is_never_merged_in_silence(trained_run):
    run = trained_run("coeff-lora")
    with pytest.raises(ConfigError, match="--without-alpha"):
        exported(run, form="merged")
    assert "without alpha" in exported(run, form="merged", without_alpha=True).lost
    assert "without alpha" in exported(run, form="comfyui").lost


def test_the_comfyui_file_is_made_again(trained_run, read_file):
    """The tensors that training wrote beside the adapter."""
    run = trained_run("dora")
    made = exported(run, form="comfyui")
    first = run.adapter / f"{run.read().name}.safetensors"
    assert read_file(made.path)[0].keys() == read_file(first)[0].keys()
    for key, value in read_file(made.path)[0].items():
        assert torch.allclose(value, read_file(first)[0][key], atol=1e-6), key


def test_the_diffusers_file_is_what_the_run_has(trained_run, read_file):
    run = trained_run("dora")
    made = exported(run, form="diffusers")
    ours, again = read_file(run.adapter / LORA_FILE)[0], read_file(made.path)[0]
    assert ours.keys() == again.keys()
    assert all(torch.equal(value, again[key]) for key, value in ours.items())


def test_dora_as_a_lora_tells_its_error(trained_run, read_file):
    """The error that is told is the true one, and more rank never makes it worse."""
    run = trained_run("dora")
    errors = {}
    for rank in (1, 2, 8):
        made = exported(run, form="diffusers", as_lora=rank)
        errors[rank] = made.errors
        tensors, _ = read_file(made.path)
        unet = loaded(run.read().base.name)
        adapter = load_adapter(unet.unet, run.adapter, unet.architecture)
        for path, change in changes_of(adapter.lora).items():
            weight = unet.unet.get_submodule(path).base_layer.weight
            true = change.apply(weight) - weight
            nearest = tensors[f"unet.{path}.lora_B.weight"] @ tensors[f"unet.{path}.lora_A.weight"]
            assert made.errors[path] == pytest.approx(float((nearest - true).norm() / true.norm()), abs=1e-3)
    assert all(errors[1][path] >= errors[2][path] >= errors[8][path] for path in errors[1])
    assert max(errors[1].values()) > 0


def test_what_cannot_be_exported_is_refused(trained_run):
    with pytest.raises(ConfigError, match="only head mixing"):
        exported(trained_run("coeff"), form="comfyui")
    run = trained_run("lora")
    with pytest.raises(ConfigError, match="--as-lora 0"):
        exported(run, as_lora=0)
    with pytest.raises(ConfigError, match="exact"):
        exported(run, form="merged", as_lora=4)
    import dataclasses

    run.write(dataclasses.replace(run.read(), status="interrupted"))
    with pytest.raises(RunError, match="interrupted"):
        exported(run)
