"""Where the configs and weights of a base lie on this machine, and what it is: before a tensor is read.

A base on the hub becomes the folder of its snapshot, fetched if need be. A single file has its configs elsewhere:
SDXL's own are in this package.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from coeffdream.backbones import hub
from coeffdream.backbones.base import SDXL_ID, Base
from coeffdream.backbones.kind import Kind, kind_of_file, kind_of_folder, transformer_pipeline
from coeffdream.backbones.schedule import read_scheduler
from coeffdream.backbones.variants import STEMS, weight_files
from coeffdream.config import PREDICTION_TYPES
from coeffdream.errors import BaseModelError
from coeffdream.progress import unheard
from coeffdream.records.files import parse_json
from coeffdream.records.reading import TEXT_LIMIT, decoded, read_bytes
from coeffdream.records.tensors import TensorFile, open_tensors

SDXL = Path(__file__).parent / "sdxl"  # the configs of SDXL 1.0
TOKENIZERS = ("tokenizer", "tokenizer_2")
FOLDERS = {*STEMS, *TOKENIZERS, "scheduler"}


@dataclass(frozen=True)
class Source:
    """A base that was looked at: it can be loaded.

    base: without a --prediction that says what the base says itself. folder: of its configs, and of its weights if
    it is no single file.
    """

    base: Base
    folder: Path
    kind: Kind
    scheduler: Any

    @property
    def said(self) -> str:
        """What it is, for a person."""
        config = self.scheduler.config
        predicts = str(config.prediction_type).replace("_", "-")
        if self.base.prediction != "auto":
            predicts += " by --prediction"
        ends = " with zero terminal SNR" if config.get("rescale_betas_zero_snr") else ""
        return f"{self.kind.said}, {predicts}{ends}"

    def config_of(self, part: str) -> dict[str, Any]:
        """The config of a part by diffusers' name for it. Raises BaseModelError."""
        return _json(self.base, self.folder / part / "config.json")

    @property
    def force_zeros(self) -> bool:
        """Whether no negative prompt is zeros, not the encoded empty text."""
        return bool(_json(self.base, self.folder / hub.INDEX).get("force_zeros_for_empty_prompt", True))

    def weights(self, dtype: torch.dtype) -> dict[str, tuple[str, list[Path]]]:
        """Of each part of a folder its variant and the files to read. Raises BaseModelError when there are none."""
        names = {part: _names_in(self.folder / part) for part in STEMS}
        return {
            part: (variant, [self.folder / part / name for name in files])
            for part, (variant, files) in _chosen(self.base, names, dtype).items()
        }

    def weights_here(self, dtype: torch.dtype) -> bool:
        """Whether a snapshot in the cache can be loaded, in whatever variants it is there."""
        try:
            self.weights(dtype)
        except BaseModelError:
            return False
        return all(_names_in(self.folder / part) for part in TOKENIZERS)


def look_at(base: Base) -> Source:
    """What a base is, from headers and configs alone; of a base on the hub the configs are fetched if need be.

    Raises BaseModelError that names what it is, when that is nothing to be trained.
    """
    folder = _configs(base)
    if base.kind == "file":
        shapes = _header(base, Path(base.source)).shapes
        kind = kind_of_file(base.name, shapes, _json(base, folder / "unet" / "config.json"))
    else:
        kind = _kind_of_folder(base, folder)
    config = kind.scheduler(_json(base, folder / "scheduler" / "scheduler_config.json"))
    if config.get("prediction_type", "epsilon") == PREDICTION_TYPES.get(base.prediction):
        base = replace(base, prediction="auto")
    return Source(base, folder, kind, read_scheduler(base.name, config, base.prediction))


def bring(base: Base, dtype: torch.dtype, tell: Callable[[str], None] = unheard) -> Source:
    """`look_at`, with the weights on this machine afterwards: those of a base on the hub are fetched.

    Weights in the cache are taken in any precision before others are fetched. `tell` hears what is fetched.
    Raises BaseModelError; a weight file that is cut short is named before anything is read.
    """
    source = look_at(base) if base.kind != "hub" else cached(base)
    if source is None or (base.kind == "hub" and not source.weights_here(dtype)):
        there = hub.listing(base.source, base.revision)
        hub.fetch(there, _config_files(base, there))
        source = look_at(base)
        hub.fetch(there, to_fetch(base, there, dtype), tell)
    if base.kind != "file":
        for _, files in source.weights(dtype).values():
            for file in files:
                if file.suffix == ".safetensors":
                    _header(base, file)
    return source


def cached(base: Base) -> Source | None:
    """A base on the hub as far as it is in the cache; None when not even its configs are."""
    return look_at(base) if hub.cached_snapshot(base.source, base.revision) else None


def to_fetch(base: Base, there: hub.Listing, dtype: torch.dtype) -> list[str]:
    """The files of a repository that a base is loaded from in `dtype`. Raises BaseModelError."""
    names: dict[str, list[str]] = {part: [] for part in STEMS}
    for name in there.sizes:
        part, _, file = name.partition("/")
        if part in names:
            names[part].append(file)
    weights = _chosen(base, names, dtype)
    return [
        *_config_files(base, there),
        *(f"{part}/{file}" for part, (_, files) in weights.items() for file in files),
    ]


def _chosen(base: Base, names: dict[str, list[str]], dtype: torch.dtype) -> dict[str, tuple[str, list[str]]]:
    try:
        return weight_files(names, dtype)
    except ValueError as error:
        raise _cannot(base, str(error)) from None


def _configs(base: Base) -> Path:
    if base.kind == "file":
        return Path(base.base_config) if base.base_config else SDXL
    if base.kind != "hub":
        return Path(base.source)
    if folder := hub.cached_snapshot(base.source, base.revision):
        return folder
    if base.source == SDXL_ID and base.revision is None:
        return SDXL
    there = hub.listing(base.source, base.revision)
    return hub.fetch(there, _config_files(base, there))


def _config_files(base: Base, there: hub.Listing) -> list[str]:
    if hub.INDEX not in there.sizes:
        raise BaseModelError(
            f"--base {base.name} has no {hub.INDEX}, so it is not in diffusers' layout; fetch its .safetensors "
            f"checkpoint (hf download {base.source} FILE) and give that file as --base"
        )

    def configures(name: str) -> bool:
        folder, _, file = name.rpartition("/")
        return folder in FOLDERS and file.endswith((".json", ".txt"))

    return [name for name in there.sizes if name == hub.INDEX or configures(name)]


def _kind_of_folder(base: Base, folder: Path) -> Kind:
    index = _json(base, folder / hub.INDEX)
    if "transformer" in index:
        raise transformer_pipeline(base.name, index)
    if not {"unet", "vae"} <= index.keys():
        raise _cannot(base, f"{hub.INDEX} names no unet and vae")
    unet, vae = (_json(base, folder / part / "config.json") for part in ("unet", "vae"))
    return kind_of_folder(base.name, index, unet, vae.get("latent_channels", 4))


def _json(base: Base, file: Path) -> dict[str, Any]:
    try:
        value = parse_json(decoded(read_bytes(file, limit=TEXT_LIMIT, error=BaseModelError)))
    except FileNotFoundError:
        raise _cannot(base, f"{file} is not there") from None
    except (OSError, ValueError) as error:
        raise _cannot(base, f"{file} is not valid JSON ({error})") from None
    if not isinstance(value, dict):
        raise _cannot(base, f"{file} holds no JSON object")
    return value


def _header(base: Base, file: Path) -> TensorFile:
    try:
        return open_tensors(file)
    except (ValueError, OSError) as error:
        raise _cannot(base, f"{file} is not a readable safetensors file ({error}); copy it again") from None


def _names_in(folder: Path) -> list[str]:
    return [each.name for each in folder.iterdir()] if folder.is_dir() else []


def _cannot(base: Base, why: str) -> BaseModelError:
    return BaseModelError(f"--base {base.name} cannot be loaded as an SDXL model: {why}")
