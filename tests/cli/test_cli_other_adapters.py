"""Adapters of other tools on the command line: drawn with, scored, compared, made a run; and refused in one line."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

spec = importlib.util.spec_from_file_location("peers", Path(__file__).parents[1] / "sharing" / "peers.py")
peers = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
spec.loader.exec_module(peers)  # type: ignore[union-attr]


@pytest.fixture
def peer(tmp_path) -> Path:
    return peers.kohya_file(tmp_path / "peer.safetensors", trigger="zwx cat")


def pixels(folder: Path) -> list[np.ndarray]:
    return [np.asarray(Image.open(file)) for file in sorted(folder.glob("*.png"))]


def differ(one: Path, other: Path) -> bool:
    return any(not np.array_equal(a, b) for a, b in zip(pixels(one), pixels(other), strict=True))


def test_drawn_with_on_top_of_a_run_and_alone(cli, run_of, peer, tiny_base):
    """The run's own, the run's with the other on top, and the other alone are three different pictures."""
    run = run_of("coeff-lora")
    few = ("<V> cat", "--images-per-prompt", 1)
    alone = cli("generate", *few, "--lora", peer, "--class", "cat", "--base", tiny_base)
    assert alone.status == 0, alone.err
    own = cli("generate", *few, "--run", run.path.name, "--set", "own")
    both = cli("generate", *few, "--run", run.path.name, "--lora", f"{peer}:0.5", "--set", "both")
    base = cli("generate", *few, "--run", run.path.name, "--no-adapter", "--set", "base")
    assert [own.status, both.status, base.status] == [0, 0, 0]
    [drawn] = run.path.parent.glob("base-*/images/*/set.json")
    sets = [drawn.parent, *(run.images / name for name in ("own", "both", "base"))]
    assert all(differ(one, other) for one in sets for other in sets if one != other)
    settings = json.loads((run.images / "both" / "set.json").read_text())["settings"]
    assert peer.name in settings["adapter"]
    assert list(settings["loras"].values()) == [0.5]
    assert json.loads((run.images / "own" / "set.json").read_text())["settings"]["loras"] == {}


def test_a_weight_of_nothing_changes_nothing(cli, run_of, peer):
    run = run_of("lora")
    few = ("<V> cat", "--images-per-prompt", 1, "--run", run.path.name)
    cli("generate", *few, "--set", "own")
    cli("generate", *few, "--set", "none", "--lora", f"{peer}:0")
    assert not differ(run.images / "own", run.images / "none")


def test_unrelated_prompts_are_encoded_without_the_adapters_text_encoders(cli, run_of, peer):
    """The untouched pictures come first; the text encoders wait, and are changed for the second half only."""
    run = run_of("lora")
    few = ("--unrelated", "--run", run.path.name)
    assert cli("generate", *few, "--set", "plain").status == 0
    assert cli("generate", *few, "--lora", peer, "--set", "other").status == 0
    assert not differ(run.images / "plain-base", run.images / "other-base")
    assert differ(run.images / "plain", run.images / "other")


def test_imported_it_is_a_run_like_any_other(cli, run_of, peer, tiny_base, cat_folder, tmp_path):
    """Its token from the file, its photos from the folder; drawn as with --lora."""
    made = cli(
        "import", peer, "--concept", cat_folder, "--base", tiny_base, "--name", "theirs", "--class", "cat"
    )
    assert made.status == 0, made.err
    record = json.loads((tmp_path / "runs" / "theirs" / "run.json").read_text())
    assert (record["status"], record["method"], record["token"]) == ("complete", "imported-lora", "zwx")
    assert len(record["concept"]["images"]) == 3
    drawn = cli("generate", "<V> cat", "--images-per-prompt", 1, "--run", "theirs", "--json")
    assert drawn.status == 0, drawn.err
    alone = cli(
        *("generate", "zwx cat", "--plain", "--images-per-prompt", 1, "--lora", peer),
        *("--class", "cat", "--base", tiny_base, "--json"),
    )
    folders = [Path(json.loads(each.out)["set"]) for each in (drawn, alone)]
    assert not differ(*folders)


LINES = {
    "a pickled file": (["--lora", "peer.pt"], "pickled"),
    "no such file": (["--lora", "nowhere.safetensors"], "nowhere.safetensors does not exist"),
    "a weight that is none": (["--lora", "{peer}:much"], "'much' is no weight"),
    "an infinite weight": (["--lora", "{peer}:inf"], "'inf' is no weight"),
    "for another model": (["--lora", "flux.safetensors"], "for FLUX"),
}


@pytest.mark.parametrize("case", LINES)
def test_one_line_says_what_is_wrong(cli, run_of, peer, case, tmp_path):
    import torch
    from safetensors.torch import save_file

    run = run_of("lora")
    (tmp_path / "peer.pt").write_bytes(b"\x80\x04")
    save_file({"lora_unet_double_blocks_0_img_mod.lora_down.weight": torch.ones(1, 2)}, "flux.safetensors")
    options, complaint = LINES[case]
    answer = cli("generate", "<V> cat", "--run", run.path.name, *(each.format(peer=peer) for each in options))
    assert answer.status == 2
    [line] = answer.complaint
    assert complaint in line
    assert not (run.path / "images").exists()


def test_it_must_be_said_what_to_draw(cli, peer):
    answer = cli("generate", "<V> cat", "--lora", peer)
    assert answer.status == 2
    assert "--run NAME" in answer.complaint[0]
