"""SDXL checkpoints in one file, under the names of Stability's own code (sgm), written from a diffusers folder."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from coeffdream.interop.names import OUTSIDE, sgm_blocks

DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.int64: "I64"}
RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
OPEN_CLIP = {
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm": "ln_final",
    "text_model.encoder.layers": "transformer.resblocks",
    "layer_norm": "ln_",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn": "attn",
}


def write_original(folder: Path, file: Path, unet: Any, extra: Mapping[str, Tensor] | None = None) -> Path:
    """Every part of a folder in one file. unet: its UNet, weights or none. extra: keys such as v_pred."""

    def part(name: str) -> dict[str, Tensor]:
        [weights] = (folder / name).glob("*.safetensors")
        return load_file(weights)

    vae_blocks = len(
        [key for key in part("vae") if re.fullmatch(r"decoder\.up_blocks\.\d+\.resnets\.0\.norm1\.bias", key)]
    )
    tensors = {
        **prefixed("model.diffusion_model.", unet_names(part("unet"), sgm_blocks(unet))),
        **prefixed("first_stage_model.", vae_names(part("vae"), vae_blocks)),
        **prefixed("conditioner.embedders.0.transformer.", clip_names(part("text_encoder"))),
        **prefixed("conditioner.embedders.1.model.", open_clip_names(part("text_encoder_2"))),
        **(extra or {}),
    }
    write(file, tensors, tensors.__getitem__)
    return file


def write(file: Path, shapes: Mapping[str, Tensor], values: Callable[[str], Tensor]) -> None:
    """A safetensors file of these shapes and dtypes, one tensor in memory at a time."""
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, tensor in shapes.items():
        begin, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for name in shapes:
            stream.write(values(name).contiguous().flatten().view(torch.uint8).numpy())


def prefixed(prefix: str, tensors: Iterator[tuple[str, Tensor]]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in tensors}


def unet_names(tensors: Mapping[str, Tensor], blocks: Mapping[str, str]) -> Iterator[tuple[str, Tensor]]:
    outside = {**OUTSIDE, "conv_norm_out": "out.0"}
    for name, tensor in tensors.items():
        path, _, end = name.rpartition(".")
        if path in outside:
            yield f"{outside[path]}.{end}", tensor
            continue
        block = next(each for each in blocks if path.startswith(f"{each}."))
        module = path[len(block) + 1 :]
        if ".resnets." in block:
            module = RESNET[module]
        elif ".downsamplers." in block:
            module = module.replace("conv", "op")
        yield f"{blocks[block]}.{module}.{end}", tensor


def vae_names(tensors: Mapping[str, Tensor], blocks: int) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in tensors.items():
        new = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
        new = re.sub(r"mid_block\.resnets\.(\d)", lambda found: f"mid.block_{int(found[1]) + 1}", new)
        new = re.sub(r"down_blocks\.(\d+)\.resnets", r"down.\1.block", new)
        new = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", new)
        new = re.sub(
            r"up_blocks\.(\d+)\.resnets", lambda found: f"up.{blocks - 1 - int(found[1])}.block", new
        )
        new = re.sub(
            r"up_blocks\.(\d+)\.upsamplers\.0", lambda found: f"up.{blocks - 1 - int(found[1])}.upsample", new
        )
        if "mid_block.attentions.0" in new:
            for ours, theirs in VAE_ATTENTION.items():
                new = new.replace(f".{ours}.", f".{theirs}.")
            new = new.replace("mid_block.attentions.0", "mid.attn_1")
            tensor = tensor[:, :, None, None] if tensor.ndim == 2 else tensor  # a projection as a convolution
        yield new, tensor


def clip_names(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in tensors.items():
        yield (name if name.startswith("text_model.") else f"text_model.{name}"), tensor
    yield "text_model.embeddings.position_ids", torch.arange(77)[None]  # as older files have it


def open_clip_names(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in tensors.items():
        if name == "text_projection.weight":
            yield "text_projection", tensor.T
            continue
        new = name
        for ours, theirs in OPEN_CLIP.items():
            new = new.replace(ours, theirs)
        if new.endswith(("q_proj.weight", "q_proj.bias")):
            together = [tensors[name.replace("q_proj", f"{each}_proj")] for each in "qkv"]
            yield new.replace("q_proj.", "in_proj_"), torch.cat(together)
        elif "k_proj." not in new and "v_proj." not in new:
            yield new, tensor
