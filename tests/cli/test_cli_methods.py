"""A method of PEFT's and one of our own on the toybox, as a person meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from coeffdream.records.run import RunFolder


@pytest.mark.parametrize(
    ("method", "options"), [("coeff-oft", ("--method-option", "oft_block_size=8")), ("bitfit", ())]
)
def test_trained_stopped_resumed_drawn(method: str, options: tuple[str, ...], cli, tmp_path: Path) -> None:
    """Resumed is the same as never stopped, byte for byte; and pictures come of it."""
    given = ("train", "--concept", "cat", "--base", "toybox", "--method", method, *options, "--device", "cpu")
    given = (*given, "--sample-every", 0, "--batch-size", 1)
    assert cli(*given, "--steps", 2, "--name", "straight").status == 0
    assert cli(*given, "--steps", 1, "--name", "stopped").status == 0
    assert cli("train", "--resume", "stopped", "--steps", 2).status == 0
    straight, resumed = (RunFolder(tmp_path / "runs" / name) for name in ("straight", "stopped"))
    assert straight.read().adapter == resumed.read().adapter
    assert straight.read().validation.departure == 0

    drawn = cli("generate", "<V> cat in snow", "--run", "stopped", "--steps", 2, "--images-per-prompt", 1)
    assert drawn.status == 0, drawn.err
    assert list(resumed.images.glob("*/*.png"))
    refused = cli("export", "stopped")
    assert refused.status == 2
    assert f"stopped learned {method}, which is no LoRA" in refused.err


def test_methods_are_counted(cli) -> None:
    answer = cli("params", "--base", "toybox", "--method", "ia3", "--json")
    [counted] = json.loads(answer.out)["methods"]
    assert counted["trained"] == counted["low_rank"] > 0


def test_every_method_is_counted_or_it_is_said_why_not(cli) -> None:
    """`--method all`, as the page has it; for some PEFT needs the weights, or an option."""
    answer = cli("params", "--base", "toybox", "--method", "all", "--json")
    assert answer.status == 0
    found = json.loads(answer.out)
    assert {"lora", "coeff-dora", "full", "bitfit", "ia3", "vera"} <= {
        each["method"] for each in found["methods"]
    }
    assert "PEFT builds shira from the base's weights" in found["not_counted"]["shira"]
    assert "total_step" in found["not_counted"]["adalora"]


def test_a_dry_run_says_what_it_cannot_count(cli) -> None:
    answer = cli("train", "--concept", "cat", "--base", "toybox", "--method", "shira", "--dry-run")
    assert answer.status == 0
    assert "PEFT builds shira from the base's weights" in answer.out + answer.err
    counted = cli("train", "--concept", "cat", "--base", "toybox", "--method", "full", "--dry-run")
    assert "of full on 56 projections" in counted.out + counted.err
