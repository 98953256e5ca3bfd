"""Reading adapters that other tools wrote: whatever the spelling, all become `Change`s of modules.

Nothing is guessed and nothing is left out in silence: a key that is not understood is named.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from coeffdream.errors import AdapterError, together
from coeffdream.interop.changes import Change, LowRank, Magnitude, Whole
from coeffdream.interop.names import UNET
from coeffdream.interop.recognize import other_model
from coeffdream.interop.spellings import ModuleNames, split_key
from coeffdream.interop.write import DORA_OVER
from coeffdream.records.files import sha256_of_file

MOST_NAMED = 12
PEFT_CONFIG = "adapter_config.json"  # beside the file, where PEFT saved it


@dataclass(frozen=True)
class OtherAdapter:
    """An adapter file of any tool. changes: by component (unet, text_encoder, text_encoder_2) and module path."""

    file: Path
    sha256: str
    changes: dict[str, dict[str, Change]]
    metadata: dict[str, str]

    @property
    def kind(self) -> str:
        """dora, lora, or other."""
        every = [change for modules in self.changes.values() for change in modules.values()]
        if not all(isinstance(change.added, LowRank) for change in every):
            return "other"
        return "dora" if any(change.magnitude for change in every) else "lora"

    @property
    def rank(self) -> int | None:
        """The greatest rank in it; None when nothing in it has one."""
        ranks = [
            change.added.rank
            for modules in self.changes.values()
            for change in modules.values()
            if isinstance(change.added, LowRank)
        ]
        return max(ranks, default=None)

    @property
    def parameters(self) -> int:
        total = 0
        for modules in self.changes.values():
            for change in modules.values():
                added = change.added
                tensors = [added.down, added.up] if isinstance(added, LowRank) else [added.values]
                tensors += [change.magnitude.values] if change.magnitude else []
                total += sum(tensor.numel() for tensor in tensors)
        return total


def read_adapter(file: Path, unet: Any) -> OtherAdapter:
    """Read a LoRA, DoRA, LoHa or LoKr file of diffusers, PEFT, kohya, LyCORIS, OneTrainer or ourselves.

    `unet`: the SDXL UNet it is meant for, before anything is installed; its shapes are enough.
    Raises AdapterError for a file that is not safetensors, belongs to another model, or holds a key, a shape
    or a value that cannot be used.
    """
    tensors, metadata = _open(file)
    names = ModuleNames(unet)
    grouped: dict[tuple[str, str], dict[str, Tensor]] = {}
    strange: list[str] = []
    for key, tensor in tensors.items():
        split = split_key(key)
        place = names.find(split[0]) if split else None
        if split is None or place is None:
            strange.append(key)
        else:
            grouped.setdefault(place, {})[split[1]] = tensor
    if other := other_model(tensors, metadata):
        raise AdapterError(f"{file} is an adapter for {other}; this base is of the SDXL family")
    problems = [f"{key} is not understood" for key in strange]
    scales = _Scales(file, metadata)
    changes: dict[str, dict[str, Change]] = {}
    for (component, path), parts in grouped.items():
        try:
            change = _change(parts, scales.of(component, path), metadata)
            if component == UNET:
                change = _fitted(change, names.shapes[path])
            changes.setdefault(component, {})[path] = change
        except (ValueError, RuntimeError) as error:
            problems.append(f"{component}.{path}: {error}")
    if problems:
        shown = problems[:MOST_NAMED]
        if len(problems) > MOST_NAMED:
            shown.append(f"and {len(problems) - MOST_NAMED} more")
        raise AdapterError(together(f"{file} cannot be used", shown))
    if not changes:
        raise AdapterError(f"{file} is empty")
    return OtherAdapter(file, sha256_of_file(file), changes, metadata)


def _open(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    if not file.is_file():
        raise AdapterError(f"{file} does not exist")
    if file.suffix != ".safetensors":
        raise AdapterError(f"{file} is not a .safetensors file; pickled files are never opened")
    try:
        with safe_open(file, "pt") as opened:
            return {key: opened.get_tensor(key) for key in opened.keys()}, dict(opened.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise AdapterError(f"{file} is not a readable safetensors file ({error}); copy it again") from None


class _Scales:
    """lora_alpha / r where a file tells it by configuration: diffusers in its metadata, PEFT in a file beside it."""

    def __init__(self, file: Path, metadata: Mapping[str, str]) -> None:
        beside = file.with_name(PEFT_CONFIG)
        try:
            if "lora_adapter_metadata" in metadata:
                found = json.loads(metadata["lora_adapter_metadata"])
            elif beside.is_file():
                found = {
                    f"{component}.{key}": value
                    for key, value in json.loads(beside.read_text(encoding="utf-8")).items()
                    for component in (UNET, "text_encoder", "text_encoder_2")
                }
            else:
                found = {}
            if not isinstance(found, dict):
                raise ValueError(f"{type(found).__name__} where an object was expected")
        except (ValueError, OSError) as error:
            raise AdapterError(
                f"the configuration of {file} is damaged ({error}); get the file again"
            ) from None
        self.found: dict[str, Any] = found

    def of(self, component: str, path: str) -> float | None:
        """None where nothing is told, so that the tensors decide."""

        def value(name: str, pattern: str) -> Any:
            for key, given in (self.found.get(f"{component}.{pattern}") or {}).items():
                if re.match(rf"(.*\.)?({key})$", path):
                    return given
            return self.found.get(f"{component}.{name}")

        alpha = value("lora_alpha", "alpha_pattern") or value("alpha", "alpha_pattern")
        rank = value("r", "rank_pattern")
        if not alpha or not rank:
            return None
        return alpha / (math.sqrt(rank) if self.found.get(f"{component}.use_rslora") else rank)


def _change(parts: dict[str, Tensor], scale: float | None, metadata: Mapping[str, str]) -> Change:
    """One module's tensors, by part. Raises ValueError, RuntimeError for parts that make nothing."""
    for part, tensor in parts.items():
        if not torch.isfinite(tensor.float()).all():
            raise ValueError(f"{part} holds values that are not finite")
    given = {part: tensor.float() for part, tensor in parts.items()}
    alpha = given.pop("alpha", None)
    magnitude = _magnitude(given, metadata)

    def factor(rank: int) -> float:
        if alpha is not None:
            return float(alpha) / rank
        return 1.0 if scale is None else scale

    kinds = {part.split("_")[0] for part in given}
    if kinds == {"down", "up"}:
        added: LowRank | Whole = LowRank(given["down"], given["up"], factor(given["down"].shape[0]))
    elif kinds == {"down", "up", "mid"}:
        up, down = (given[part].flatten(1) for part in ("up", "down"))
        whole = torch.einsum("mnkl,im,nj->ijkl", given["mid"], up, down)
        added = Whole(factor(given["down"].shape[0]) * whole)
    elif kinds == {"diff"}:
        added = Whole(given["diff"])
    elif kinds == {"hada"}:
        product = _pair(given, "hada_w1", "hada_t1") * _pair(given, "hada_w2", "hada_t2")
        added = Whole(factor(given["hada_w1_b"].shape[0]) * product)
    elif kinds == {"lokr"}:
        first, second = _pair(given, "lokr_w1", ""), _pair(given, "lokr_w2", "lokr_t2")
        factored = [part for part in ("lokr_w1_b", "lokr_w2_b") if part in given]
        rank = given[factored[-1]].shape[0] if factored else None
        by = factor(rank) if rank else scale or 1.0
        added = Whole(by * torch.kron(first.view(*first.shape, *[1] * (second.ndim - 2)), second))
    else:
        raise ValueError(f"{', '.join(sorted(parts))} make no LoRA, LoHa or LoKr")
    return Change(added, magnitude)


def _pair(given: Mapping[str, Tensor], name: str, core: str) -> Tensor:
    """A matrix given whole, as a product of two, or (Tucker) as a core between them."""
    if name in given:
        return given[name]
    try:
        first, second = given[f"{name}_a"], given[f"{name}_b"]
    except KeyError as missing:
        raise ValueError(f"{missing.args[0]} is missing") from None
    if core in given:
        return torch.einsum("ijkl,jr,ip->prkl", given[core], second, first)
    return first @ second


def _magnitude(given: dict[str, Tensor], metadata: Mapping[str, str]) -> Magnitude | None:
    """Rows are [out] or [out, 1]; columns [1, in]. Trainers divide by the changed weight's norms."""
    if "magnitude" in given:
        return Magnitude(given.pop("magnitude").flatten())
    if "dora_scale" not in given:
        return None
    values = given.pop("dora_scale")
    if values.ndim > 1 and values.shape[0] == 1 and values.shape[1] > 1:
        return Magnitude(values.flatten(), "in")
    return Magnitude(
        values.flatten(), "out", "untouched" if metadata.get(DORA_OVER) == "untouched" else "changed"
    )


def _fitted(change: Change, shape: tuple[int, ...]) -> Change:
    """The change in the shape of the module's weight [out, in, ...]. Raises ValueError when it has another."""
    added = change.added
    if isinstance(added, LowRank):
        # A 1 x 1 convolution and a linear layer are one thing; trainers write either.
        down = added.down.flatten(1) if len(shape) == 2 else added.down
        up = added.up.flatten(1) if len(shape) == 2 else added.up
        if down.ndim < len(shape):
            down, up = down[..., None, None], up[..., None, None]
        has = (up.shape[0], *down.shape[1:])
        added = LowRank(down, up, added.scale)
    else:
        values = added.values
        if values.numel() == math.prod(shape) and values.shape[0] == shape[0]:
            values = values.reshape(shape)
        has = tuple(values.shape)
        added = Whole(values)
    if has != shape:
        raise ValueError(f"it changes a weight of {list(has)} where this base has {list(shape)}")
    if change.magnitude is not None:
        axis = 0 if change.magnitude.axis == "out" else 1
        if change.magnitude.values.numel() != shape[axis]:
            raise ValueError(
                f"its magnitude has {change.magnitude.values.numel()} values where this base has {shape[axis]}"
            )
    return Change(added, change.magnitude)
