"""Writing adapters in the forms that other tools read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from coeffdream.errors import AdapterError
from coeffdream.interop.changes import Change, LowRank, Magnitude, comfy_dora_scale
from coeffdream.interop.metadata import About, kohya_metadata
from coeffdream.interop.names import UNET, kohya_name, sgm_blocks
from coeffdream.records.tensors import write_tensors

# What loaders that know dora_scale make of it depends on it; a reader of our own must know which it is.
DORA_OVER = "coeffdream.dora_over"


def changes_of(tensors: Mapping[str, Tensor]) -> dict[str, Change]:
    """Tensors as PEFT names them (<module>.lora_A.weight, ...), scale 1 -> what each module gets.

    Other parts than those of LoRA and DoRA are left alone; the answer is empty when there are none.
    """
    changes = {}
    for name, down in tensors.items():
        path = name.removesuffix(".lora_A.weight")
        if path == name:
            continue
        magnitude = tensors.get(f"{path}.lora_magnitude_vector")
        changes[path] = Change(
            LowRank(down.detach(), tensors[f"{path}.lora_B.weight"].detach()),
            None if magnitude is None else Magnitude(magnitude.detach()),
        )
    return changes


@torch.no_grad()
def write_kohya(file: Path, changes: Mapping[str, Change], unet: Any, about: About) -> None:
    """`lora_unet_<sgm name>.lora_down.weight, .lora_up.weight, .alpha`, and for DoRA `.dora_scale` [out, 1].

    `unet`: the base the changes belong to; DoRA needs its weights, LoRA nothing but its architecture.
    Raises AdapterError for a change that has no low-rank form.
    """
    blocks = sgm_blocks(unet)
    tensors: dict[str, Tensor] = {}
    ranks = set()
    for path, change in changes.items():
        low_rank = change.added
        if not isinstance(low_rank, LowRank):
            raise AdapterError(f"{path} is not changed by a LoRA; export it with --as-lora RANK")
        name = kohya_name(UNET, path, blocks)
        tensors[f"{name}.lora_down.weight"] = plain(low_rank.down)
        tensors[f"{name}.lora_up.weight"] = plain(low_rank.up)
        tensors[f"{name}.alpha"] = torch.tensor(low_rank.scale * low_rank.rank)
        if change.magnitude is not None:
            tensors[f"{name}.dora_scale"] = plain(comfy_dora_scale(change, base_weight(unet, path)))
        ranks.add(low_rank.rank)
    metadata = kohya_metadata(about, tensors, max(ranks))
    if any(change.magnitude for change in changes.values()):
        metadata[DORA_OVER] = "untouched"
    write_tensors(file, {name: tensor.numpy() for name, tensor in tensors.items()}, metadata)


def write_diffusers(file: Path, changes: Mapping[str, Change], about: About) -> None:
    """`unet.<module>.lora_A.weight, .lora_B.weight, .lora_magnitude_vector`, the scale folded into lora_B."""
    tensors: dict[str, Tensor] = {}
    ranks: dict[str, int] = {}
    dora = False
    for path, change in changes.items():
        low_rank = change.added
        if not isinstance(low_rank, LowRank):
            raise AdapterError(f"{path} is not changed by a LoRA; export it with --as-lora RANK")
        tensors[f"{UNET}.{path}.lora_A.weight"] = plain(low_rank.down)
        tensors[f"{UNET}.{path}.lora_B.weight"] = plain(low_rank.scale * low_rank.up)
        if change.magnitude is not None:
            tensors[f"{UNET}.{path}.lora_magnitude_vector"] = plain(change.magnitude.values)
            dora = True
        ranks[path] = low_rank.rank
    rank = Counter(ranks.values()).most_common(1)[0][0]
    fields = {"r": rank, "lora_alpha": rank, "use_dora": dora, "target_modules": list(changes)}
    if others := {path: each for path, each in ranks.items() if each != rank}:
        fields |= {"rank_pattern": others, "alpha_pattern": others}
    metadata = {
        "format": "pt",
        "lora_adapter_metadata": json.dumps({f"{UNET}.{key}": value for key, value in fields.items()}),
        "coeffdream.method": about.method,
    }
    if about.what_is_lost:
        metadata["coeffdream.alpha"] = about.what_is_lost
    write_tensors(file, {name: tensor.numpy() for name, tensor in tensors.items()}, metadata)


def base_weight(model: Any, path: str) -> Tensor:
    """The untouched weight of a module, also where PEFT has wrapped it."""
    module = model.get_submodule(path)
    return getattr(module, "base_layer", module).weight


def plain(tensor: Tensor) -> Tensor:
    return tensor.detach().float().cpu().contiguous()
