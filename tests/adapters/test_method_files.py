"""The files of PEFT's methods and of our own two are believed no more than those of a LoRA."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coeffdream.adapters.files import load_adapter
from coeffdream.records.adapter_names import CHANGES_FILE, CONFIG_FILE, MODEL_FILE
from coeffdream.records.files import read_json, write_json
from coeffdream.records.run import COEFF_FILE, LORA_FILE

OFT = {"method": "coeff-oft", "method_option": ["oft_block_size=4"]}


def changed(folder: Path, **values: Any) -> None:
    write_json(folder / CONFIG_FILE, {**read_json(folder / CONFIG_FILE), **values})


def said_inside(rewrite: Callable[..., None], folder: Path, **values: Any) -> None:
    """The same alteration where it passes for the truth: in the metadata too, under a digest that fits."""
    changed(folder, **values)
    config = {key: value for key, value in read_json(folder / CONFIG_FILE).items() if key != "peft_version"}
    told = json.dumps(config, sort_keys=True)
    rewrite(folder / MODEL_FILE, metadata=lambda meta: meta.update({"coeffdream.config": told}))


def test_peft_is_told_its_version(saved) -> None:
    assert read_json(saved(**OFT) / CONFIG_FILE)["peft_version"]


@pytest.mark.parametrize(
    "values",
    [{"oft_block_size": 8}, {"target_modules": ["to_q"]}, {"auto_mapping": {"base": "os"}}, {"more": 1}],
)
def test_a_config_that_was_altered_is_refused(values, saved, refuse) -> None:
    folder = saved(**OFT)
    changed(folder, **values)
    refuse(folder, CONFIG_FILE, "was altered")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"peft_type": "XLORA"}, "peft_type 'XLORA' is none"),
        ({"auto_mapping": {"parent_library": "os"}}, "oft has no option 'auto_mapping'"),
        ({"oft_block_sise": 8}, "did you mean oft_block_size?"),
        ({"oft_block_size": "large"}, "expected int"),
        ({"target_modules": "all-linear"}, "is no list of modules"),
        ({"oft_block_size": 8}, "another shape than the options"),
        ({"target_modules": ["conv_in"]}, "conv_in"),
    ],
)
def test_nor_is_one_believed_that_passes_for_the_truth(values, said, saved, rewrite, refuse) -> None:
    folder = saved(method="oft", method_option=OFT["method_option"])
    said_inside(rewrite, folder, **values)
    refuse(folder, said)


def test_no_memory_is_taken_for_a_size_that_the_file_does_not_have(saved, rewrite, refuse) -> None:
    folder = saved("loha")
    said_inside(rewrite, folder, r=10**9)
    refuse(folder, "another shape than the options")


@pytest.mark.parametrize("text", ["", "[]", "{", "null", "[" * 10_000])
def test_a_config_that_is_none_is_refused(text, saved, refuse) -> None:
    folder = saved(**OFT)
    (folder / CONFIG_FILE).write_text(text)
    refuse(folder, CONFIG_FILE)


def test_what_belongs_together_must_be_there(saved, refuse) -> None:
    folder = saved(**OFT)
    for name, says in ((CONFIG_FILE, CONFIG_FILE), (MODEL_FILE, MODEL_FILE), (COEFF_FILE, "trained with")):
        away = folder / name
        away.rename(folder / "away")
        refuse(folder, says)
        (folder / "away").rename(away)


def test_what_does_not_belong_together_is_refused(saved, refuse) -> None:
    folder = saved(**OFT)
    other = saved("full", "other")
    shutil.copyfile(other / CHANGES_FILE, folder / CHANGES_FILE)
    refuse(folder, MODEL_FILE, CHANGES_FILE, "take out the one that is not its own")
    (folder / CHANGES_FILE).unlink()
    shutil.copyfile(saved("lora", "third") / LORA_FILE, folder / LORA_FILE)
    refuse(folder, LORA_FILE, MODEL_FILE)


@pytest.mark.parametrize(
    ("alter", "said"),
    [
        (lambda tensors: tensors.pop(next(iter(tensors))), "is missing"),
        (lambda tensors: tensors.update(more=next(iter(tensors.values()))), "is not part of"),
        (lambda tensors: next(iter(tensors.values())).fill_(float("nan")), "not finite"),
    ],
)
def test_changes_of_the_weights_are_looked_at(alter, said, saved, rewrite, refuse) -> None:
    folder = saved("full")
    rewrite(folder / CHANGES_FILE, tensors=alter)
    refuse(folder, said)


def test_bitfit_trains_the_biases_that_there_are(saved, loaded_unet, architecture) -> None:
    """In SDXL only what projects attention's output has one."""
    adapter = load_adapter(copy.deepcopy(loaded_unet), saved("bitfit"), architecture)
    assert {name.partition(".to_")[2] for name in adapter.trainable} == {"out.0.bias"}
    assert len(adapter.trainable) == 8
