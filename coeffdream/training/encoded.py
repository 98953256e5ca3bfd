"""A photo as the UNet is trained on it, and the photos of a concept that a study encodes once for all its cells."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coeffdream import warm
from coeffdream.backbones.encode import Conditioning, LatentPosterior
from coeffdream.records.claim import in_turn
from coeffdream.records.files import sha256_of_json
from coeffdream.records.tensors import open_tensors, write_tensors

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
PROMPTED = tuple(field.name for field in fields(Conditioning))


@dataclass(frozen=True)
class TrainingSample:
    """One photo as the UNet is trained on it. time_ids: SDXL's six size and crop numbers. mask: the share of each
    latent that is the thing's, [h, w] float32, or None for a photo that is learned whole."""

    name: str
    posterior: LatentPosterior
    time_ids: tuple[int, ...]
    conditioning: Conditioning
    mask: Tensor | None = None


def once(whose: Mapping[str, Any], make: Callable[[], list[TrainingSample]]) -> list[TrainingSample]:
    """What `make` makes; in a study, of the cells that ask for it at once one makes it, and the others read it.

    whose: everything that the samples follow from.
    """
    shared = warm.shared()
    if shared is None:
        return make()
    key = sha256_of_json(whose)[:24]
    file = shared / "encoded" / f"{key}.safetensors"
    found = _read(file)
    if found is None:
        with in_turn(shared / "encoded" / f"{key}.making", "encoding photos"):
            found = _read(warm.fetched(file))
            if found is None:
                found = make()
                _write(file, found)
    return found


def _write(file: Path, samples: Sequence[TrainingSample]) -> None:
    """float32 holds every value of a narrower dtype, which the metadata names."""
    tensors: dict[str, Tensor] = {}
    told: dict[str, str] = {"count": str(len(samples))}
    for number, each in enumerate(samples):
        told[f"{number}|name"] = each.name
        tensors[f"{number}|time_ids"] = torch.tensor(each.time_ids, dtype=torch.float32)
        tensors[f"{number}|mean"], tensors[f"{number}|std"] = each.posterior.mean, each.posterior.std
        tensors |= {f"{number}|{name}": getattr(each.conditioning, name) for name in PROMPTED}
        told[f"{number}|dtype"] = str(each.conditioning.embeds.dtype).removeprefix("torch.")
        if each.mask is not None:
            tensors[f"{number}|mask"] = each.mask
    write_tensors(
        file, {name: np.array(value.detach().float().cpu()) for name, value in tensors.items()}, told
    )


def _read(file: Path) -> list[TrainingSample] | None:
    """None where nothing is, or nothing that can be trusted: it is made again."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        stored = open_tensors(file)
        stored.check_digest()
        found, told = {name: torch.from_numpy(array) for name, array in stored.read()}, stored.metadata
        return [_sample(str(number), found, told) for number in range(int(told["count"]))]
    return None


def _sample(number: str, found: Mapping[str, Tensor], told: Mapping[str, str]) -> TrainingSample:
    dtype = DTYPES[told[f"{number}|dtype"]]
    return TrainingSample(
        told[f"{number}|name"],
        LatentPosterior(found[f"{number}|mean"], found[f"{number}|std"]),
        tuple(int(value) for value in found[f"{number}|time_ids"]),
        Conditioning(**{name: found[f"{number}|{name}"].to(dtype) for name in PROMPTED}),
        found.get(f"{number}|mask"),
    )
