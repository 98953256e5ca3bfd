"""Which weight files each part of a folder in diffusers' layout has, and which of them are read.

A part may come in several precisions, called variants: model.safetensors, model.fp16.safetensors, and either in
shards with an index. Everything is told from names, so that a repository's listing serves as well as a folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch

# What diffusers and transformers call the weights of a part.
STEMS = {
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
    "text_encoder_2": "model",
}
PICKLED = re.compile(r"\.(bin|pt|pth|ckpt|msgpack|h5)$")
# The first that is there is read: half the bytes where half the precision is asked for, all there is otherwise.
PREFERRED = {
    torch.float32: ("", "fp32", "bf16", "fp16"),
    torch.bfloat16: ("bf16", "fp16", "", "fp32"),
    torch.float16: ("fp16", "bf16", "", "fp32"),
}


def variants(part: str, names: Iterable[str]) -> dict[str, list[str]]:
    """The whole variants of a part, "" the one without a name, with their files. `names`: those in the part's folder."""
    there = sorted(names)
    shard = re.compile(
        rf"{STEMS[part]}(?:\.(?P<first>\w+))?(?:-\d+-of-(?P<of>\d+))?(?:\.(?P<last>\w+))?\.safetensors"
    )
    found: dict[str, list[str]] = {}
    wanted: dict[str, int] = {}
    for name in there:
        if match := shard.fullmatch(name):
            variant = match["first"] or match["last"] or ""
            found.setdefault(variant, []).append(name)
            wanted[variant] = int(match["of"] or 1)
    for variant, files in found.items():
        if wanted[variant] > 1:
            index = rf"{STEMS[part]}(\.{variant})?\.safetensors\.index(\.{variant})?\.json"
            files += [name for name in there if re.fullmatch(index, name)]
            wanted[variant] += 1
    return {variant: files for variant, files in found.items() if len(files) >= wanted[variant]}


def chosen(part: str, names: Iterable[str], dtype: torch.dtype) -> tuple[str, list[str]] | None:
    """The variant of a part that is read in `dtype`, and its files; None when there are no whole weights."""
    there = variants(part, names)
    return next(((each, there[each]) for each in PREFERRED[dtype] if each in there), None)


def dtype_of(part: str, dtype: torch.dtype) -> torch.dtype:
    """What a part is kept in: the VAE always float32."""
    return torch.float32 if part == "vae" else dtype


def weight_files(names: Mapping[str, Iterable[str]], dtype: torch.dtype) -> dict[str, tuple[str, list[str]]]:
    """Of each part its variant and files. names: the file names in each part's folder. Raises ValueError in words."""
    taken = {}
    for part in STEMS:
        there = list(names.get(part, ()))
        choice = chosen(part, there, dtype_of(part, dtype))
        if choice is None:
            pickled = next((name for name in sorted(there) if PICKLED.search(name)), None)
            if pickled:
                raise ValueError(
                    f"the weights of {part} are pickled ({part}/{pickled}), and pickled weights are never opened, for "
                    "they can run code; take the .safetensors of the same model, or have diffusers write them "
                    "(pipeline.save_pretrained) where you trust the file"
                )
            raise ValueError(f"{part} has no whole weights ({part}/{STEMS[part]}.safetensors)")
        taken[part] = choice
    return taken
