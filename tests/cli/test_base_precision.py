"""A base in fewer bits from the command line: trained on, drawn with, recorded, and refused in one line."""

from __future__ import annotations

import json
import sys

import pytest

from coeffdream.records.run import RunFolder


def test_trained_and_drawn_with_the_same_weights(teach, cli, tmp_path):
    """A run's pictures come from the base that it learned beside, unless another is asked for; sets say which."""
    answer = teach("--name", "mine", "--base-precision", "int8", "--offload", "blocks")
    assert answer.status == 0, answer.err
    run = RunFolder(tmp_path / "runs" / "mine")
    record = run.read()
    assert (record.config.base_precision, record.config.offload) == (
        "int8",
        "none",
    )  # a CPU has nowhere to go
    plan = json.loads(cli("train", "--resume", "mine", "--steps", 3, "--dry-run", "--json").out)
    assert plan["config"]["base_precision"] == "int8"
    drawn = {}
    for name, more in (("as trained", ()), ("whole", ("--base-precision", "auto"))):
        words = ("--run", "mine", "<V> cat", "--images-per-prompt", 1, "--steps", 1, "--set", name.split()[0])
        answer = cli("generate", *words, *more)
        assert answer.status == 0, answer.err
        folder = run.images / name.split()[0]
        said = json.loads((folder / "set.json").read_text())["settings"]
        drawn[said["base_precision"]] = next(folder.glob("*.png")).read_bytes()
    assert list(drawn) == ["int8", "auto"]
    assert drawn["int8"] != drawn["auto"]


def test_a_package_that_is_not_there(teach, cli, monkeypatch, tmp_path):
    """One line with what to install, before anything is loaded; nothing is left behind."""
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    refused = teach("--base-precision", "nf4")
    assert refused.status == 2
    assert len(refused.complaint) == 1
    assert refused.complaint[0].startswith("error: --base-precision nf4 needs the package bitsandbytes")
    assert refused.complaint[0].endswith("pip install 'coeffdream[quant]'")
    assert teach("--base-precision", "nf4", "--dry-run").complaint == refused.complaint
    assert not list((tmp_path / "runs").glob("*"))


@pytest.mark.parametrize("option", ["--base-precision", "--offload"])
@pytest.mark.parametrize("command", ["train", "generate"])
def test_no_such_value(cli, command, option):
    """The values that there are are named."""
    refused = cli(command, option, "int4")
    assert refused.status == 2
    said = "'nf4'" if option == "--base-precision" else "'blocks'"
    assert "int4" in refused.err
    assert said in refused.err


def test_the_dry_run_tells_the_form(teach):
    """Of what the weights are kept in, and how much less that is."""
    whole, rounded = (
        json.loads(teach("--dry-run", "--json", "--base-precision", form).out)["memory_bytes"]["phases"][-1]
        for form in ("auto", "int8")
    )
    assert rounded["held"]["unet"] < 0.8 * whole["held"]["unet"]  # the convolutions of the miniature stay
    assert "the UNet's blocks in int8" in teach("--dry-run", "--base-precision", "int8").err
