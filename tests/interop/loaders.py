"""How other tools look up and apply a LoRA file, written down again from what they publish.

Names: Stability's UNet is built level by level (generative-models, openaimodel.py); ComfyUI, Forge and A1111
take `lora_unet_` + the module's name there with underscores. Formulas: ComfyUI, comfy/weight_adapter.
"""

from __future__ import annotations

import torch


def sgm_modules(levels: int, res_blocks: int, depths: list[int], middle_depth: int) -> set[str]:
    """Names of the modules of Stability's UNet that have a weight matrix.

    depths: transformer blocks in each attention of a level; 0 for a level without attention.
    """
    names = {"input_blocks.0.0", "time_embed.0", "time_embed.2", "label_emb.0.0", "label_emb.0.2", "out.2"}

    def resnet(place: str) -> set[str]:
        parts = ("in_layers.2", "emb_layers.1", "out_layers.3", "skip_connection")
        return {f"{place}.{part}" for part in parts}

    def transformer(place: str, depth: int) -> set[str]:
        inner = {
            f"transformer_blocks.{block}.{part}"
            for block in range(depth)
            for part in (
                *(
                    f"attn{n}.{projection}"
                    for n in (1, 2)
                    for projection in ("to_q", "to_k", "to_v", "to_out.0")
                ),
                "ff.net.0.proj",
                "ff.net.2",
            )
        }
        return {f"{place}.{part}" for part in {"proj_in", "proj_out", *inner}}

    number = 0
    for level in range(levels):
        for _ in range(res_blocks):
            number += 1
            names |= resnet(f"input_blocks.{number}.0")
            if depths[level]:
                names |= transformer(f"input_blocks.{number}.1", depths[level])
        if level < levels - 1:
            number += 1
            names.add(f"input_blocks.{number}.0.op")
    names |= resnet("middle_block.0") | transformer("middle_block.1", middle_depth) | resnet("middle_block.2")
    number = -1
    for level in reversed(range(levels)):
        for index in range(res_blocks + 1):
            number += 1
            names |= resnet(f"output_blocks.{number}.0")
            if depths[level]:
                names |= transformer(f"output_blocks.{number}.1", depths[level])
            if level and index == res_blocks:
                names.add(f"output_blocks.{number}.{2 if depths[level] else 1}.conv")
    return names


def attention_place(path: str, res_blocks: int) -> str:
    """An attention's place by the closed formulas: every level is res_blocks + 1 numbers long."""
    part, *rest = path.split(".", 4)
    if part == "mid_block":
        return "middle_block.1." + path.split(".", 3)[3]
    level, _, number, inner = rest
    if part == "down_blocks":
        return f"input_blocks.{(res_blocks + 1) * int(level) + int(number) + 1}.1.{inner}"
    return f"output_blocks.{(res_blocks + 1) * int(level) + int(number)}.1.{inner}"


def comfy_keys(modules: set[str]) -> dict[str, str]:
    """ComfyUI's and Forge's map: what a file may call a module -> the module."""
    return {"lora_unet_" + name.replace(".", "_"): name for name in modules}


def a1111_module(key: str, modules: set[str]) -> str | None:
    """A1111 asks its model for a layer of this name, the UNet's modules being under `diffusion_model`."""
    layers = {"diffusion_model_" + name.replace(".", "_"): name for name in modules}
    return layers.get(key.replace("lora_unet_", "diffusion_model_", 1))


CLIP_LAYERS = (
    "mlp_fc1",
    "mlp_fc2",
    "self_attn_k_proj",
    "self_attn_q_proj",
    "self_attn_v_proj",
    "self_attn_out_proj",
)


def comfy_text_keys(which: int, layers: int) -> set[str]:
    """ComfyUI's map of CLIP-L (1) and CLIP-G (2)."""
    return {
        f"lora_te{which}_text_model_encoder_layers_{layer}_{part}"
        for layer in range(layers)
        for part in CLIP_LAYERS
    }


def comfy_weight(
    weight: torch.Tensor, name: str, file: dict[str, torch.Tensor], strength: float = 1.0
) -> torch.Tensor:
    """What ComfyUI makes of one weight matrix."""
    up, down = file[f"{name}.lora_up.weight"], file[f"{name}.lora_down.weight"]
    alpha = file[f"{name}.alpha"].item() / down.shape[0] if f"{name}.alpha" in file else 1.0
    difference = up @ down
    scale = file.get(f"{name}.dora_scale")
    if scale is None:
        return weight + strength * alpha * difference
    changed = weight + alpha * difference
    rows = scale.shape[0] == changed.shape[0]  # on this axis, of the untouched weight
    length = weight.norm(dim=1, keepdim=True) if rows else changed.norm(dim=0, keepdim=True)
    changed = changed * (scale / (length + torch.finfo(weight.dtype).eps))
    return weight + strength * (changed - weight)
