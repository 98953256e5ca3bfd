"""Whose file it is: a part that is missing, another's or damaged is refused, with the UNet left as it was."""

from __future__ import annotations

from typing import get_args

import pytest
from safetensors.torch import save_file

from coeffdream.config import Method
from coeffdream.records.run import COEFF_FILE, LORA_FILE
from coeffdream.records.tensors import DIGEST

METHODS = get_args(Method)


def test_a_lora_without_its_coefficients(saved, refuse):
    """Half of a coeff-lora adapter draws something that was never trained."""
    folder = saved("coeff-lora")
    (folder / COEFF_FILE).unlink()
    refuse(folder, f"{LORA_FILE} without the {COEFF_FILE}", "put that file back")


def test_coefficients_without_their_lora(saved, refuse):
    """The reverse."""
    folder = saved("coeff-dora")
    (folder / LORA_FILE).unlink()
    refuse(folder, f"{COEFF_FILE} without the {LORA_FILE}", "put that file back")


@pytest.mark.parametrize("method", ["lora", "coeff-lora"])
def test_a_companion_from_another_run(saved, refuse, method):
    """Two runs of one architecture have files of one shape; only the hash tells them apart."""
    folder, other = saved("coeff-lora"), saved(method, "other", size=0.1)
    (folder / LORA_FILE).write_bytes((other / LORA_FILE).read_bytes())
    refuse(folder, f"is not the file that {COEFF_FILE} was trained with", "put the original back")


def test_a_lora_put_beside_coefficients_that_had_none(saved, refuse):
    """Otherwise a coeff adapter would silently become a coeff-lora one."""
    folder, other = saved("coeff"), saved("lora", "other")
    (folder / LORA_FILE).write_bytes((other / LORA_FILE).read_bytes())
    refuse(folder, f"is not the file that {COEFF_FILE} was trained with", "take this one out")


@pytest.mark.parametrize("method", METHODS)
def test_an_adapter_of_another_architecture(saved, refuse, method):
    """Its shapes may even fit."""
    refuse(saved(method), "was trained on another architecture", "--base it was trained on", of="0" * 64)


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", b"\x80\x04\x95" + b"\0" * 64])
@pytest.mark.parametrize("file", [LORA_FILE, COEFF_FILE])
def test_a_file_that_is_no_safetensors(saved, refuse, file, content):
    """Empty, text, or a pickle, which is never opened as one."""
    folder = saved("coeff-lora")
    (folder / file).write_bytes(content)
    refuse(folder, str(folder / file), "is not a readable safetensors file", "copy it again")


def test_a_file_cut_short(saved, refuse):
    """An upload that broke off."""
    folder = saved("coeff")
    whole = (folder / COEFF_FILE).read_bytes()
    (folder / COEFF_FILE).write_bytes(whole[: len(whole) * 3 // 4])
    refuse(folder, "is not a readable safetensors file")


@pytest.mark.parametrize("name", ["empty", "absent"])
def test_a_folder_without_an_adapter(tmp_path, refuse, name):
    """A run that has not finished."""
    if name == "empty":
        (tmp_path / name).mkdir()
    refuse(tmp_path / name, "holds no adapter", "train one")


def test_a_stranger_s_lora_is_not_taken_for_ours(saved, refuse, rewrite):
    """A file of the diffusers script has no metadata of ours at all."""
    folder = saved("lora")
    rewrite(
        folder / LORA_FILE, metadata=lambda meta: [meta.pop(key) for key in list(meta) if key != "format"]
    )
    refuse(folder, "has coeffdream format unknown")


@pytest.mark.parametrize("file", [LORA_FILE, COEFF_FILE])
@pytest.mark.parametrize("place", ["data", "header"])
def test_one_bit_is_enough(saved, refuse, file, place):
    """A flip that leaves every shape right and every value finite would draw another picture without a word."""
    folder = saved("coeff-lora")
    content = bytearray((folder / file).read_bytes())
    content[-3 if place == "data" else content.index(b"coeff-lora")] ^= 1
    (folder / file).write_bytes(content)
    refuse(folder, str(folder / file), "put the original back")


def test_two_coefficients_that_changed_places(saved, refuse, read_file):
    """Keys, shapes and finiteness cannot tell."""
    folder = saved("coeff")
    tensors, meta = read_file(folder / COEFF_FILE)
    first, second, *_ = tensors
    tensors[first], tensors[second] = tensors[second], tensors[first]
    save_file(tensors, folder / COEFF_FILE, meta)
    refuse(folder, "was altered", "put the original back")


def test_a_file_whose_digest_is_gone(saved, refuse, read_file):
    """It says the format that has one."""
    folder = saved("lora")
    tensors, meta = read_file(folder / LORA_FILE)
    save_file(tensors, folder / LORA_FILE, {key: value for key, value in meta.items() if key != DIGEST})
    refuse(folder, "its digest is gone", "put the original back")
