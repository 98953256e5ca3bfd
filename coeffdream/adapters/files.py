"""Adapter files: a plain diffusers/PEFT LoRA file, and the coefficients in one of their own.

A plain LoRA file with extra keys would be refused by diffusers, so the two stay apart. Each holds a digest
of itself, and the coefficients the sha256 of the other. The LoRA keys are `unet.<module>.lora_A.weight`
[r, in], `.lora_B.weight` [out, r], `.lora_magnitude_vector` [out]; the coefficients' `<module>.alpha` [H, H].

In place of the LoRA file there is, for a method of PEFT's, PEFT's own layout: adapter_model.safetensors with PEFT's
keys, and adapter_config.json; for `full` and `bitfit` weight_changes.safetensors, `<module>.weight` [out, in] and
`<module>.bias` [out], what is added to the base's.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from coeffdream.adapters.install import Adapter, AdapterSpec, install
from coeffdream.adapters.layers import attention_layers
from coeffdream.adapters.opened import COMPANION, CONFIG, FORMAT, VERSION, check_companion, open_adapter
from coeffdream.adapters.other import Other, own_modules
from coeffdream.adapters.peft_part import shapes_of
from coeffdream.adapters.peft_types import config_from, config_targets, config_values
from coeffdream.adapters.values import faults
from coeffdream.config import Parametrisation
from coeffdream.errors import AdapterError
from coeffdream.methods import OURS, plain_method
from coeffdream.progress import unheard
from coeffdream.records.adapter_names import ADAPTER_FILES, CHANGES_FILE, CONFIG_FILE, MODEL_FILE
from coeffdream.records.files import sha256_of_file, write_json
from coeffdream.records.run import COEFF_FILE, LORA_FILE
from coeffdream.records.tensors import WRITTEN, TensorFile, write_tensors

PREFIX = "unet."
SHOWN = 5
GROUPS = "coeffdream.groups"


def save_adapter(adapter: Adapter, folder: Path, architecture: str) -> None:
    """Write the adapter's files. `architecture` is the fingerprint of the UNet it belongs to."""
    adapter.check_installed()
    tensors, weights = _tensors(adapter), None
    for name, metadata in _metadata(adapter, architecture).items():
        if name == COEFF_FILE and weights:
            metadata[COMPANION] = sha256_of_file(folder / weights)
        arrays = {key: value.detach().cpu().numpy() for key, value in tensors[name].items()}
        write_tensors(folder / name, arrays, metadata)
        if name == MODEL_FILE:
            # By its version PEFT knows whether it computes today what it did then.
            write_json(
                folder / CONFIG_FILE,
                {**json.loads(metadata[CONFIG]), VERSION: importlib.metadata.version("peft")},
            )
        weights = name


def load_adapter(
    unet: Any, folder: Path, architecture: str, warn: Callable[[str], None] = unheard
) -> Adapter:
    """Install the adapter saved in `folder`. Raises AdapterError and leaves the UNet as it was when a
    file is missing, altered, belongs to another architecture, has missing, extra or mis-shaped keys,
    or values beyond any use. `warn` hears what an older file lacks."""
    files = open_adapter(folder, architecture)
    spec = _spec(unet, folder, files)
    if spec.other and spec.other.config:
        _check_shapes(unet, spec.other, folder, files[MODEL_FILE])
    adapter = install(unet, spec)
    try:
        _fill(adapter, folder, files, architecture, warn)
    except AdapterError:
        adapter.uninstall()
        raise
    return adapter


def restore_adapter(adapter: Adapter, folder: Path, architecture: str, warn: Callable[[str], None]) -> None:
    """Copy what `save_adapter` wrote into an adapter that is installed already. Raises AdapterError."""
    _fill(adapter, folder, open_adapter(folder, architecture), architecture, warn)


def adapter_hashes(folder: Path) -> dict[str, str]:
    """sha256 of each adapter file there is, by file name."""
    return {name: sha256_of_file(folder / name) for name in ADAPTER_FILES if (folder / name).is_file()}


def _tensors(adapter: Adapter) -> dict[str, dict[str, Tensor]]:
    """What each of its files holds."""
    other = adapter.spec.other
    made: dict[str, dict[str, Tensor]] = {
        LORA_FILE: {PREFIX + name: value for name, value in adapter.lora.items()},
        COEFF_FILE: {
            f"{path}.alpha": each.coefficients.whole(each.coefficients.alpha.detach())
            for path, each in adapter.processors.items()
        },
    }
    if adapter.part and other:
        made[MODEL_FILE if other.config else CHANGES_FILE] = adapter.part.tensors()
    return made


def _metadata(adapter: Adapter, architecture: str) -> dict[str, dict[str, str]]:
    """What each of the adapter's files says of itself, but for digests and hashes."""
    spec = adapter.spec
    common = {
        "format": "pt",
        "coeffdream.format": FORMAT,
        "coeffdream.method": spec.method,
        "coeffdream.architecture": architecture,
    }
    made = {}
    if spec.lora:
        # Only these four: PEFT would list 41 fields, and an older PEFT fails on the ones it lacks.
        fields = {
            "r": spec.rank,
            "lora_alpha": spec.rank,
            "use_dora": spec.dora,
            "target_modules": list(spec.lora),
        }
        loader = json.dumps({PREFIX + key: value for key, value in fields.items()})
        made[LORA_FILE] = {**common, "lora_adapter_metadata": loader}
    if spec.other and spec.other.config:
        values = config_values(spec.other.config)
        made[MODEL_FILE] = {**common, CONFIG: json.dumps(values, sort_keys=True)}
    elif spec.other:
        made[CHANGES_FILE] = common
    if spec.alpha:
        made[COEFF_FILE] = {
            **common,
            "coeffdream.heads": json.dumps(
                {path: each.coefficients.heads for path, each in adapter.processors.items()}
            ),
            "coeffdream.dropout": repr(spec.dropout),
            "coeffdream.parametrisation": spec.parametrisation,
            **({GROUPS: str(spec.groups)} if spec.groups > 1 else {}),
            COMPANION: "",
        }
    return made


@torch.no_grad()
def _fill(
    adapter: Adapter,
    folder: Path,
    files: dict[str, TensorFile],
    architecture: str,
    warn: Callable[[str], None],
) -> None:
    """Copy saved values into an installed adapter. Everything the headers say must match it first."""
    wanted = _tensors(adapter)
    for name in [*wanted, *(each for each in files if each not in wanted)]:
        if problems := _unfit(wanted.get(name, {}), files.get(name)):
            raise _does_not_fit(folder, [problem.removeprefix(PREFIX) for problem in problems])
    check_companion(folder, files)
    for name, metadata in _metadata(adapter, architecture).items():
        _check_described(files[name], metadata)
    for file in files.values():
        try:
            if not file.check_digest():
                warn(
                    f"{file.path} was written before adapters held a digest: whether its values are those "
                    "that were trained cannot be checked"
                )
        except (ValueError, OSError) as error:
            raise AdapterError(f"{file.path} was altered ({error}); put the original back") from None
    for name, file in files.items():
        try:
            if adapter.part and name in (MODEL_FILE, CHANGES_FILE):
                adapter.part.fill({key: torch.from_numpy(array) for key, array in file.read()})
                continue
            for key, array in file.read():
                if name == COEFF_FILE:
                    adapter.processors[key.removesuffix(".alpha")].coefficients.fill(torch.from_numpy(array))
                else:
                    wanted[name][key].copy_(torch.from_numpy(array))
        except (ValueError, OSError) as error:
            raise AdapterError(f"{file.path} cannot be read ({error}); copy it again") from None
    if problems := faults(adapter):
        raise _does_not_fit(folder, problems)


def _unfit(wanted: dict[str, Tensor], file: TensorFile | None) -> list[str]:
    shapes, dtypes = (file.shapes, file.dtypes) if file else ({}, {})
    problems = [f"{name} is missing" for name in wanted if name not in shapes]
    problems += [f"{name} is not part of this adapter" for name in shapes if name not in wanted]
    for name, parameter in wanted.items():
        if name in shapes and shapes[name] != tuple(parameter.shape):
            problems.append(f"{name} has shape {list(shapes[name])} where {list(parameter.shape)} is needed")
        elif dtypes.get(name, _dtype(parameter)) != _dtype(parameter):
            problems.append(f"{name} is {dtypes[name]} where {_dtype(parameter)} is needed")
    return problems


def _dtype(tensor: Tensor) -> str:
    return WRITTEN[torch.empty((), dtype=tensor.dtype).numpy().dtype]


def _check_shapes(unet: Any, other: Other, folder: Path, file: TensorFile) -> None:
    """What its options make of a method must be what the file holds, before a byte of memory is taken for it."""
    shapes = shapes_of(unet, other)
    if shapes and shapes["tensors"] != file.shapes:
        different = dict(set(shapes["tensors"].items()) ^ set(file.shapes.items()))
        raise _does_not_fit(
            folder,
            [f"{name} has another shape than the options in {CONFIG_FILE} make" for name in different],
        )


def _does_not_fit(folder: Path, problems: list[str]) -> AdapterError:
    more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
    shown = "; ".join(f"{problem:.200}" for problem in problems[:SHOWN])
    return AdapterError(f"the adapter in {folder} does not fit: {'; '.join([shown, *more])}")


def _check_described(file: TensorFile, wanted: dict[str, str]) -> None:
    """What the file says of itself must be what would be written of this adapter."""
    for key, value in wanted.items():
        if key in ("coeffdream.format", COMPANION):
            continue
        said = file.metadata.get(key)
        # An older file names more of PEFT's fields than those that are written now.
        same = said == value or (key == "lora_adapter_metadata" and _includes(said, value))
        if not same:
            raise AdapterError(
                f"the metadata of {file.path} is damaged ({key} is {said!r:.80} where {value!r:.80} is trained); "
                "put the original back"
            )


def _includes(said: str | None, value: str) -> bool:
    try:
        fields: dict[str, Any] = dict(json.loads(said or "{}"))
    except (ValueError, TypeError, RecursionError):
        return False
    return all(fields.get(key) == each for key, each in json.loads(value).items())


def _spec(unet: Any, folder: Path, files: dict[str, TensorFile]) -> AdapterSpec:
    """The adapter that the files describe; nothing of it is believed that cannot be."""
    spec = AdapterSpec()
    try:
        if LORA_FILE in files:
            fields: dict[str, Any] = json.loads(files[LORA_FILE].metadata["lora_adapter_metadata"])
            rank, dora, modules = (fields[PREFIX + key] for key in ("r", "use_dora", "target_modules"))
            # The rank is what PEFT allocates, so it is believed only when a tensor has it too.
            ranks = {shape[0] for shape in files[LORA_FILE].shapes.values()}
            if type(rank) is not int or rank not in ranks or not isinstance(dora, bool):
                raise ValueError(f"r={rank!r}, use_dora={dora!r}")
            spec = dataclasses.replace(spec, rank=rank, dora=dora, lora=_paths(modules))
        if MODEL_FILE in files:
            name, config = config_from(json.loads(files[MODEL_FILE].metadata[CONFIG]))
            spec = dataclasses.replace(spec, other=Other(name, _paths(config_targets(config)), config))
        if CHANGES_FILE in files:
            name = plain_method(files[CHANGES_FILE].metadata["coeffdream.method"])
            if name not in OURS:
                raise ValueError(f"method={name!r}")
            modules = own_modules(name, attention_layers(unet))
            spec = dataclasses.replace(spec, other=Other(name, tuple(modules)))
        if COEFF_FILE in files:
            meta = files[COEFF_FILE].metadata
            dropout, kind = float(meta["coeffdream.dropout"]), meta["coeffdream.parametrisation"]
            if not 0 <= dropout < 1 or kind not in get_args(Parametrisation):
                raise ValueError(f"dropout={dropout}, parametrisation={kind!r}")
            heads, groups = json.loads(meta["coeffdream.heads"]), int(meta.get(GROUPS, "1"))
            if groups < 1 or any(own % groups for own in heads.values()):
                raise ValueError(f"groups={groups}")
            described: dict[str, Any] = {"dropout": dropout, "parametrisation": kind, "groups": groups}
            spec = dataclasses.replace(spec, alpha=_paths(heads), **described)
        return spec
    except (KeyError, ValueError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise AdapterError(
            f"the metadata of the adapter in {folder} is damaged ({error!r:.80}); train it again"
        ) from None


def _paths(listed: Any) -> tuple[str, ...]:
    paths = tuple(map(str, listed))
    if not paths or len(set(paths)) < len(paths):
        raise ValueError("the layers it names")
    return paths
