"""`coeffdream config show`: every option of a training with its value and who set it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from coeffdream.config import TrainConfig


def shown(answer) -> dict[str, tuple[object, str]]:
    assert answer.status == 0, answer.err
    return {name: (each["value"], each["from"]) for name, each in json.loads(answer.out).items()}


def test_every_layer_is_named(cli):
    """Who wonders why a run took 20 steps learns whether the base, the file or they themselves said so."""
    Path("mine.toml").write_text('lr = 0.5\nsteps = 7\nclass = "cat"\n', encoding="utf-8")
    given = ("--base", "toybox", "--preset", "quality", "--config", "mine.toml", "--steps", "9")
    values = shown(cli("config", "show", *given, "--json"))
    assert values["steps"] == (9, "command line")
    assert values["lr"] == (0.5, "config file")
    assert values["class_noun"] == ("cat", "config file")
    assert values["lora_targets"] == ("all.q,all.k,all.v,all.out", "preset quality")
    assert values["resolution"] == (64, "base")
    assert values["seed"] == (0, "default")


def test_it_is_what_train_does(cli, cat_folder):
    """The values are those of a dry run with the same words, but for what the machine's memory settles."""
    given = ("--base", "toybox", "--concept", cat_folder, "--device", "cpu", "--preset", "table3")
    planned = json.loads(cli("train", *given, "--dry-run", "--json").out)["config"]
    values = shown(cli("config", "show", *given, "--json"))
    settled = {"offload": "auto", "vae_tiling": None}
    assert {name: value for name, (value, _) in values.items()} == planned | settled


def test_the_table_has_every_option(cli):
    """In words, with values that look like markup as they are."""
    answer = cli("config", "show", "--base", "toybox", "--alpha-layers", "^mid[_]block")
    assert answer.status == 0
    lines = [line.split() for line in answer.out.splitlines() if line.strip().startswith("--")]
    assert len(lines) == len(dataclasses.fields(TrainConfig))
    assert ["--alpha-layers", "^mid[_]block", "command", "line"] in lines
    assert ["--gradient-checkpointing", "off", "base"] in lines


def test_what_train_refuses_is_refused(cli):
    """The same one line and status."""
    answer = cli("config", "show", "--rank", 0)
    assert answer.status == 2
    assert answer.complaint == ["error: these options make no run: --rank 0 must be at least 1"]
