"""Adapter files: a plain diffusers/PEFT LoRA file, and the coefficients in one of their own.

A plain LoRA file with extra keys would be refused by diffusers, so the two stay apart. Each holds a digest
of itself, and the coefficients the sha256 of the other. The LoRA keys are `unet.<module>.lora_A.weight`
[r, in], `.lora_B.weight` [out, r], `.lora_magnitude_vector` [out]; the coefficients' `<module>.alpha` [H, H].
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from coeffdream.adapters.install import Adapter, AdapterSpec, install
from coeffdream.adapters.values import faults
from coeffdream.config import Parametrisation
from coeffdream.errors import AdapterError
from coeffdream.progress import unheard
from coeffdream.records.files import sha256_of_file
from coeffdream.records.run import COEFF_FILE, LORA_FILE
from coeffdream.records.tensors import DIGEST, TensorFile, open_tensors, write_tensors

FORMAT = "2"
OLDEST = "1"  # without a digest
PREFIX = "unet."
SHOWN = 5


def save_adapter(adapter: Adapter, folder: Path, architecture: str) -> None:
    """Write the adapter's files. `architecture` is the fingerprint of the UNet it belongs to."""
    adapter.check_installed()
    for name, metadata in _metadata(adapter, architecture).items():
        tensors, prefix = (adapter.lora, PREFIX) if name == LORA_FILE else (_alphas(adapter), "")
        if name == COEFF_FILE and adapter.spec.lora:
            metadata["coeffdream.companion_sha256"] = sha256_of_file(folder / LORA_FILE)
        arrays = {prefix + key: value.detach().float().cpu().numpy() for key, value in tensors.items()}
        write_tensors(folder / name, arrays, metadata)


def load_adapter(
    unet: Any, folder: Path, architecture: str, warn: Callable[[str], None] = unheard
) -> Adapter:
    """Install the adapter saved in `folder`. Raises AdapterError and leaves the UNet as it was when a
    file is missing, altered, belongs to another architecture, has missing, extra or mis-shaped keys,
    or values beyond any use. `warn` hears what an older file lacks."""
    files = _open(folder, architecture)
    adapter = install(unet, _spec(folder, files))
    try:
        _fill(adapter, folder, files, architecture, warn)
    except AdapterError:
        adapter.uninstall()
        raise
    return adapter


def restore_adapter(adapter: Adapter, folder: Path, architecture: str, warn: Callable[[str], None]) -> None:
    """Copy what `save_adapter` wrote into an adapter that is installed already. Raises AdapterError."""
    _fill(adapter, folder, _open(folder, architecture), architecture, warn)


def adapter_hashes(folder: Path) -> dict[str, str]:
    """sha256 of each adapter file there is, by file name."""
    return {
        name: sha256_of_file(folder / name) for name in (LORA_FILE, COEFF_FILE) if (folder / name).is_file()
    }


def _alphas(adapter: Adapter) -> dict[str, Tensor]:
    return {f"{path}.alpha": alpha for path, alpha in adapter.alpha.items()}


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
    if spec.alpha:
        made[COEFF_FILE] = {
            **common,
            "coeffdream.heads": json.dumps({path: len(alpha) for path, alpha in adapter.alpha.items()}),
            "coeffdream.dropout": repr(spec.dropout),
            "coeffdream.parametrisation": spec.parametrisation,
            "coeffdream.companion_sha256": "",
        }
    return made


def _open(folder: Path, architecture: str) -> dict[str, TensorFile]:
    """The files there are, their headers checked, by name; no tensor is read yet."""
    files = {name: _header(folder / name) for name in (LORA_FILE, COEFF_FILE) if (folder / name).exists()}
    if not files:
        raise AdapterError(
            f"{folder} holds no adapter ({LORA_FILE}, {COEFF_FILE}); train one, or name another --run"
        )
    for file in files.values():
        _check_origin(file, architecture)
    _check_pair(folder, files)
    return files


def _header(file: Path) -> TensorFile:
    try:
        opened = open_tensors(file)
    except (ValueError, OSError) as error:
        raise AdapterError(f"{file} is not a readable safetensors file ({error}); copy it again") from None
    if not opened.entries:
        raise AdapterError(f"{file} holds no tensors; copy it again")
    return opened


@torch.no_grad()
def _fill(
    adapter: Adapter,
    folder: Path,
    files: dict[str, TensorFile],
    architecture: str,
    warn: Callable[[str], None],
) -> None:
    """Copy saved values into an installed adapter. Everything the headers say must match it first."""
    wanted: dict[str, dict[str, Tensor]] = {
        LORA_FILE: {PREFIX + name: value for name, value in adapter.lora.items()},
        COEFF_FILE: _alphas(adapter),
    }
    for name, parameters in wanted.items():
        if problems := _unfit(parameters, files.get(name)):
            raise _does_not_fit(folder, [problem.removeprefix(PREFIX) for problem in problems])
    _check_companion(folder, files)
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
            for key, array in file.read():
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
        elif dtypes.get(name, "F32") != "F32":
            problems.append(f"{name} is {dtypes[name]} where F32 is needed")
    return problems


def _does_not_fit(folder: Path, problems: list[str]) -> AdapterError:
    more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
    shown = "; ".join(f"{problem:.200}" for problem in problems[:SHOWN])
    return AdapterError(f"the adapter in {folder} does not fit: {'; '.join([shown, *more])}")


def _check_described(file: TensorFile, wanted: dict[str, str]) -> None:
    """What the file says of itself must be what would be written of this adapter."""
    for key, value in wanted.items():
        if key in ("coeffdream.format", "coeffdream.companion_sha256"):
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


def _check_pair(folder: Path, files: dict[str, TensorFile]) -> None:
    """Each of two files that belong together must be there."""
    lora, alpha = files.get(LORA_FILE), files.get(COEFF_FILE)
    if lora and not alpha and lora.metadata.get("coeffdream.method", "").startswith("coeff"):
        raise AdapterError(
            f"{folder} holds {LORA_FILE} without the {COEFF_FILE} it was trained with; put that file back beside it"
        )
    if alpha and bool(lora) != bool(alpha.metadata.get("coeffdream.companion_sha256")):
        raise AdapterError(
            f"{folder / LORA_FILE} is not the file that {COEFF_FILE} was trained with; that was trained alone, "
            "so take this one out"
            if lora
            else f"{folder} holds {COEFF_FILE} without the {LORA_FILE} it was trained with; "
            "put that file back beside it"
        )


def _check_companion(folder: Path, files: dict[str, TensorFile]) -> None:
    if len(files) == 2:
        expected = files[COEFF_FILE].metadata["coeffdream.companion_sha256"]
        if sha256_of_file(folder / LORA_FILE) != expected:
            raise AdapterError(
                f"{folder / LORA_FILE} is not the file that {COEFF_FILE} was trained with; put the original back"
            )


def _spec(folder: Path, files: dict[str, TensorFile]) -> AdapterSpec:
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
        if COEFF_FILE in files:
            meta = files[COEFF_FILE].metadata
            dropout, kind = float(meta["coeffdream.dropout"]), meta["coeffdream.parametrisation"]
            if not 0 <= dropout < 1 or kind not in get_args(Parametrisation):
                raise ValueError(f"dropout={dropout}, parametrisation={kind!r}")
            layers = _paths(json.loads(meta["coeffdream.heads"]))
            spec = dataclasses.replace(spec, alpha=layers, dropout=dropout, parametrisation=kind)  # type: ignore[arg-type]
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
