"""Coefficients of a transformer on disk: the file that a run of coeffdream has, for a model that is not a UNet.

safetensors, `<path of the layer>.alpha` [H, H] in float32, whole also where the heads are in groups, with a digest
of itself.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import nn

from coeffdream.adapters.coefficients import SubspaceCoefficients
from coeffdream.adapters.hosts.coefficients import attach_coefficients, coefficients_of, remove_coefficients
from coeffdream.adapters.layers import AttentionLayer, attention_layers, inner_model
from coeffdream.config import Parametrisation
from coeffdream.errors import AdapterError, listed
from coeffdream.records.run import COEFF_FILE
from coeffdream.records.tensors import DIGEST, TensorFile, open_tensors, write_tensors

FORMAT = "2"
SUFFIX = ".alpha"


def save_coefficients(model: nn.Module, path: str | Path) -> Path:
    """Write a model's coefficients to a file, or into a folder as coeff_weights.safetensors. Returns the file.

    Raises AdapterError when the model has none, or when one holds NaN or infinity.
    """
    coefficients = coefficients_of(model)
    if not coefficients:
        raise AdapterError("the model has no coefficients to save; call add_coefficients(model) first")
    arrays = {
        name + SUFFIX: each.whole(each.alpha.detach()).float().cpu().numpy()
        for name, each in coefficients.items()
    }
    _check_finite(arrays, "these coefficients cannot be kept")
    file = _file(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    some = next(iter(coefficients.values()))
    metadata = {
        "format": "pt",
        "coeffdream.format": FORMAT,
        "coeffdream.method": "coeff",
        "coeffdream.architecture": _architecture(model),
        "coeffdream.heads": json.dumps({name: each.heads for name, each in coefficients.items()}),
        "coeffdream.dropout": repr(some.dropout),
        "coeffdream.parametrisation": some.parametrisation,
        **({"coeffdream.groups": str(some.groups)} if some.groups > 1 else {}),
        "coeffdream.companion_sha256": "",
    }
    write_tensors(file, arrays, metadata)
    return file


def load_coefficients(model: nn.Module, path: str | Path) -> dict[str, SubspaceCoefficients]:
    """Add the coefficients that a file or folder holds. Returns them by the path of their layer.

    Raises AdapterError, and leaves the model as it was, for a file that is missing, damaged, altered or made
    for another model.
    """
    file = _file(path)
    try:
        opened = open_tensors(file)
        checked = opened.check_digest()
    except FileNotFoundError:
        raise AdapterError(f"{file} does not exist; save_coefficients writes it") from None
    except (ValueError, OSError) as error:
        raise AdapterError(f"{file} is no readable file of coefficients ({error}); copy it again") from None
    if opened.metadata.get("coeffdream.format") != FORMAT or not checked:
        raise AdapterError(f"{file} was not written by save_coefficients (no {DIGEST} of format {FORMAT})")
    if opened.metadata.get("coeffdream.architecture") != _architecture(model):
        raise AdapterError(
            f"{file} belongs to another model, whose class or attention layers are not those of this "
            f"{type(inner_model(model)).__name__}; load it into a model like the one it was trained in"
        )
    by_path = {layer.path: layer for layer in attention_layers(model)}
    chosen = []
    for name, shape in opened.shapes.items():
        layer = by_path.get(name.removesuffix(SUFFIX))
        if layer is None or shape != (layer.heads, layer.heads) or opened.dtypes[name] != "F32":
            raise AdapterError(
                f"{file} does not fit: {name:.80} of shape {list(shape)} has no place in this model"
            )
        chosen.append(layer)
    dropout, parametrisation, groups = _described(opened, chosen)
    arrays = dict(opened.read())
    _check_finite(arrays, f"{file} is damaged")
    order = list(by_path)
    chosen.sort(key=lambda layer: order.index(layer.path))
    made = attach_coefficients(model, chosen, dropout=dropout, parametrisation=parametrisation, groups=groups)
    try:
        for path, coefficients in made.items():
            coefficients.fill(torch.from_numpy(arrays[path + SUFFIX]))
    except ValueError as error:
        remove_coefficients(model)
        raise AdapterError(f"{file} is damaged: {path}{SUFFIX}: {error}; copy it again") from None
    return made


def _file(path: str | Path) -> Path:
    given = Path(path)
    return given if given.suffix == ".safetensors" else given / COEFF_FILE


def _architecture(model: nn.Module) -> str:
    """A digest of the model's class and of its attention layers: paths, heads, and the size of their weights."""
    layers = [
        [layer.path, layer.heads, list(next(layer.module.parameters()).shape)]
        for layer in attention_layers(model)
    ]
    described = json.dumps([type(inner_model(model)).__name__, layers])
    return hashlib.sha256(described.encode()).hexdigest()


def _described(file: TensorFile, chosen: list[AttentionLayer]) -> tuple[float, Parametrisation, int]:
    """Dropout, parametrisation and groups."""
    try:
        dropout = float(file.metadata["coeffdream.dropout"])
        parametrisation: Any = file.metadata["coeffdream.parametrisation"]
        if not 0 <= dropout < 1 or parametrisation not in get_args(Parametrisation):
            raise ValueError(f"dropout={dropout}, parametrisation={parametrisation!r:.40}")
        groups = int(file.metadata.get("coeffdream.groups", "1"))
        if groups < 1 or any(layer.heads % groups for layer in chosen):
            raise ValueError(f"groups={groups}")
    except (KeyError, ValueError) as error:
        raise AdapterError(f"the metadata of {file.path} is damaged ({error!r:.80})") from None
    return dropout, parametrisation, groups


def _check_finite(arrays: dict[str, np.ndarray], what: str) -> None:
    if wrong := [name for name, array in arrays.items() if not np.isfinite(array).all()]:
        raise AdapterError(f"{what}: {listed(wrong)} holds values that are not finite")
