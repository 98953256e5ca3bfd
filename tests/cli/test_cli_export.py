"""`coeffdream export` as a person calls it, and what `train` says of its files."""

from __future__ import annotations

import json

import pytest


def test_train_says_which_file_goes_where(teach, tmp_path):
    """And that alpha is not in the files of other tools."""
    answer = teach("--method", "coeff-lora", "--name", "mine")
    assert answer.status == 0, answer.err
    said = " ".join(answer.err.split())
    assert "for ComfyUI, A1111, Forge" in said
    assert "runs/mine/adapter/mine.safetensors" in said
    assert 'load_lora_weights("runs/mine/adapter"' in said
    assert "without alpha" in said
    assert (tmp_path / "runs" / "mine" / "adapter" / "mine.safetensors").is_file()


def test_train_says_when_nothing_goes_anywhere(teach):
    """Alpha alone has no file for other tools."""
    assert "no other tool can load this run" in " ".join(teach("--method", "coeff").err.split())


def test_dora_is_sent_where_it_is_read_rightly(teach):
    said = " ".join(teach("--method", "dora", "--name", "mine").err.split())
    assert "for ComfyUI, Forge: copy" in said
    assert "coeffdream export mine --as-lora" in said


def test_an_export_tells_its_file_and_its_error(cli, run_of):
    run = run_of("dora")
    answer = cli("export", run.path.name, "--as-lora", 2)
    assert answer.status == 0, answer.err
    said = " ".join(answer.err.split())
    assert "nearest LoRA of rank 2" in said
    assert f"export/{run.read().name}-lora2.safetensors" in said
    made = json.loads(cli("export", run.path.name, "--as-lora", 2, "--json").out)
    assert made["errors"]


LINES = {
    "alpha in a merged base": (["--format", "merged"], "--without-alpha"),
    "a rank that is none": (["--as-lora", 0], "--as-lora 0"),
    "a rank that no matrix has": (["--as-lora", 4000], "--as-lora 4000"),
    "another base": (["--base", "toybox"], "another architecture"),
    "a precision that is none": (["--precision", "fp12"], "fp12"),
}


@pytest.mark.parametrize("case", LINES)
def test_one_line_says_why_not(cli, run_of, case, contents):
    run = run_of("coeff-lora")
    before = contents(run.path)
    options, complaint = LINES[case]
    answer = cli("export", run.path.name, *options)
    assert answer.status == 2
    [line] = answer.complaint
    assert complaint in line
    assert contents(run.path) == before
