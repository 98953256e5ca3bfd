"""The files of an adapter that was saved, as they lie in a folder: looked at before a tensor of them is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coeffdream.errors import AdapterError, RunError
from coeffdream.methods import LOW_RANK, OURS, plain_method
from coeffdream.records.adapter_names import (
    CHANGES_FILE,
    CONFIG_FILE,
    MODEL_FILE,
    TENSOR_FILES,
    WEIGHT_FILES,
)
from coeffdream.records.files import read_json, sha256_of_file
from coeffdream.records.run import COEFF_FILE, LORA_FILE
from coeffdream.records.tensors import DIGEST, TensorFile, open_tensors

FORMAT = "2"
OLDEST = "1"  # without a digest
# What the model file of PEFT's layout says of its method: the same as adapter_config.json, inside its digest.
CONFIG = "coeffdream.config"
VERSION = "peft_version"  # stands in adapter_config.json alone
COMPANION = "coeffdream.companion_sha256"


def open_adapter(folder: Path, architecture: str) -> dict[str, TensorFile]:
    """The files of tensors that there are, their headers checked, by name. Raises AdapterError."""
    files = {name: _header(folder / name) for name in TENSOR_FILES if (folder / name).exists()}
    if not files:
        raise AdapterError(
            f"{folder} holds no adapter ({', '.join(TENSOR_FILES)}); train one, or name another --run"
        )
    for file in files.values():
        _check_origin(file, architecture)
    _check_pair(folder, files)
    if MODEL_FILE in files:
        _check_config(folder, files[MODEL_FILE])
    return files


def weights_of(files: Mapping[str, TensorFile]) -> str | None:
    """Which of the files holds what was learned beside alpha."""
    return next((name for name in WEIGHT_FILES if name in files), None)


def check_companion(folder: Path, files: Mapping[str, TensorFile]) -> None:
    """Raises AdapterError when the other file is not the one that alpha was trained with."""
    weights = weights_of(files)
    if weights and COEFF_FILE in files:
        expected = files[COEFF_FILE].metadata[COMPANION]
        if sha256_of_file(folder / weights) != expected:
            raise AdapterError(
                f"{folder / weights} is not the file that {COEFF_FILE} was trained with; put the original back"
            )


def _header(file: Path) -> TensorFile:
    try:
        opened = open_tensors(file)
    except (ValueError, OSError) as error:
        raise AdapterError(f"{file} is not a readable safetensors file ({error}); copy it again") from None
    if not opened.entries:
        raise AdapterError(f"{file} holds no tensors; copy it again")
    return opened


def _check_origin(file: TensorFile, architecture: str) -> None:
    written = file.metadata.get("coeffdream.format", "unknown")
    if written not in (OLDEST, FORMAT):
        raise AdapterError(
            f"{file.path} has coeffdream format {written:.80} where this coeffdream reads {OLDEST} and {FORMAT}; "
            "train it again"
        )
    if written == FORMAT and DIGEST not in file.metadata:
        raise AdapterError(f"{file.path} was altered (its digest is gone); put the original back")
    trained_on = file.metadata.get("coeffdream.architecture", "unknown")
    if trained_on != architecture:
        raise AdapterError(
            f"{file.path} was trained on another architecture ({trained_on[:12]}, this base is {architecture[:12]}); "
            "load it with the --base it was trained on"
        )


def _check_pair(folder: Path, files: Mapping[str, TensorFile]) -> None:
    """Each of two files that belong together must be there, and nothing beside them."""
    there = [name for name in WEIGHT_FILES if name in files]
    if len(there) > 1:
        raise AdapterError(f"{folder} holds {there[0]} and {there[1]}; take out the one that is not its own")
    weights, alpha = next(iter(there), None), files.get(COEFF_FILE)
    method = files[weights].metadata.get("coeffdream.method", "") if weights else ""
    if not alpha:
        if method.startswith("coeff"):
            raise AdapterError(
                f"{folder} holds {weights} without the {COEFF_FILE} it was trained with; put that file back beside it"
            )
        return
    if bool(weights) == bool(alpha.metadata.get(COMPANION)):
        return
    if weights:
        raise AdapterError(
            f"{folder / weights} is not the file that {COEFF_FILE} was trained with; that was trained alone, so take "
            "this one out"
        )
    wanted = _file_of(alpha.metadata.get("coeffdream.method", ""))
    raise AdapterError(
        f"{folder} holds {COEFF_FILE} without the {wanted} it was trained with; put that file back beside it"
    )


def _check_config(folder: Path, model: TensorFile) -> None:
    """adapter_config.json is PEFT's to read; ours lies in the model file, and both must say the same."""
    try:
        said: Any = read_json(folder / CONFIG_FILE)
    except RunError as error:
        raise AdapterError(f"{error}, beside {MODEL_FILE}; put the original back") from None
    try:
        written = json.loads(model.metadata.get(CONFIG, ""))
    except (ValueError, RecursionError):
        raise AdapterError(
            f"the metadata of {model.path} is damaged ({CONFIG}); put the original back"
        ) from None
    if not isinstance(said, dict) or {key: said[key] for key in said if key != VERSION} != written:
        raise AdapterError(
            f"{folder / CONFIG_FILE} was altered: {MODEL_FILE} was trained with another; put the original back"
        )


def _file_of(method: str) -> str:
    plain = plain_method(method)
    return LORA_FILE if plain in LOW_RANK else CHANGES_FILE if plain in OURS else MODEL_FILE
