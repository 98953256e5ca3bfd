"""ComfyUI node: the head mixing of a coeffdream run, exactly, beside its LoRA.

Install: copy this file to ComfyUI/custom_nodes, and a run's adapter/coeff_weights.safetensors (under a name of your
own) to ComfyUI/models/loras. Use: Load LoRA with the run's NAME.safetensors, then this node, both at 1.0.

Shape letters: B batch, H heads, N queries, M keys, d head dim.
"""

from __future__ import annotations

import re

import folder_paths
import torch
from comfy.ldm.modules.attention import optimized_attention
from safetensors import safe_open

MODULE = re.compile(
    r"(?:(down|up)_blocks\.(\d+)|mid_block)\.attentions\.(\d+)\.transformer_blocks\.(\d+)\.(attn[12])\.alpha"
)
SIDES = {"down": "input", "up": "output", None: "middle"}
MAP_BYTES = 256 * 2**20  # softmax maps held at a time


class CoeffdreamAlpha:
    """MODEL in, MODEL out: in every trained attention layer, head h uses sum_i alpha'[h, i] softmax(Q_i K_i^T)."""

    RETURN_TYPES = ("MODEL",)
    FUNCTION = "apply"
    CATEGORY = "loaders"
    DESCRIPTION = "Head mixing (alpha) of a coeffdream run; no LoRA file can hold it."

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802  (ComfyUI's name)
        return {
            "required": {
                "model": ("MODEL",),
                "coefficients": (folder_paths.get_filename_list("loras"),),
                "strength": ("FLOAT", {"default": 1.0, "min": -10.0, "max": 10.0, "step": 0.01}),
            }
        }

    def apply(self, model, coefficients: str, strength: float):
        """Patch a clone of the model. Raises ValueError for a file or a model that does not fit."""
        alphas, residual = read_alphas(folder_paths.get_full_path("loras", coefficients))
        levels = model.model.model_config.unet_config.get("num_res_blocks")
        if levels is None:
            raise ValueError("this model has no UNet; coeffdream's head mixing belongs to an SDXL model")
        patched = model.clone()
        for module, alpha in alphas.items():
            attention, block, number, index = place_of(module, levels)
            patch = mixing_patch(module, alpha, residual, strength)
            getattr(patched, f"set_model_{attention}_replace")(patch, block, number, index)
        return (patched,)


def read_alphas(file: str) -> tuple[dict[str, torch.Tensor], bool]:
    """alpha [H, H] of each module, and whether it is added to the identity."""
    with safe_open(file, "pt") as opened:
        said = opened.metadata() or {}
        alphas = {key: opened.get_tensor(key).float() for key in opened.keys()}  # noqa: SIM118
    kind = said.get("coeffdream.parametrisation")
    if kind is None or not alphas:
        raise ValueError(
            f"{file} holds no coefficients of coeffdream; choose a run's coeff_weights.safetensors"
        )
    return alphas, kind == "residual"


def place_of(module: str, levels: list[int]) -> tuple[str, str, int, int]:
    """diffusers' module path -> attn1 or attn2, ComfyUI's block, its number, and the transformer block in it.

    levels: residual blocks at each level. Numbers run on; a level takes one more for what comes after its blocks.
    """
    found = MODULE.fullmatch(module)
    if found is None:
        raise ValueError(f"{module} is no attention layer of SDXL's UNet")
    side, level, number, index, attention = found.groups()
    if side is None:
        return attention, "middle", 0, int(index)
    sizes = [blocks + 1 for blocks in (levels if side == "down" else levels[::-1])]
    before = sum(sizes[: int(level)]) + (1 if side == "down" else 0)
    return attention, SIDES[side], before + int(number), int(index)


def mixing_patch(module: str, alpha: torch.Tensor, residual: bool, strength: float):
    """A replacement of one attention: q, k, v [B, N or M, H d] -> [B, N, H d]."""
    if residual:
        learned, kept = strength * alpha, 1.0
    else:  # alpha itself is the mixing; strength fades it to the identity
        learned, kept = strength * alpha, 1.0 - strength

    def patch(q, k, v, extra_options):
        heads = extra_options["n_heads"]
        if heads != alpha.shape[0]:
            raise ValueError(
                f"{module} has {heads} heads here and {alpha.shape[0]} in the file: another base model"
            )
        output = mixed(q, k, v, learned.to(q.device), heads)
        if kept:
            output = output + kept * optimized_attention(q, k, v, heads).float()
        return output.to(q.dtype)

    return patch


def mixed(q, k, v, mixing, heads: int) -> torch.Tensor:
    """sum_i mixing[h, i] softmax(Q_i K_i^T / sqrt d) V_h, float32 [B, N, H d], some queries at a time."""
    query, key, value = (each.unflatten(-1, (heads, -1)).transpose(1, 2) for each in (q, k, v))
    batch, _, queries, dim = query.shape
    step = max(1, MAP_BYTES // (8 * batch * heads * key.shape[2]))
    output = torch.empty(batch, heads, queries, dim, device=q.device)
    for first in range(0, queries, step):
        scores = query[:, :, first : first + step] @ key.transpose(-1, -2) * dim**-0.5
        maps = torch.einsum("hi,binm->bhnm", mixing, scores.float().softmax(-1))
        output[:, :, first : first + step] = (maps.to(value.dtype) @ value).float()
    return output.transpose(1, 2).flatten(2)


NODE_CLASS_MAPPINGS = {"CoeffdreamAlpha": CoeffdreamAlpha}
NODE_DISPLAY_NAME_MAPPINGS = {"CoeffdreamAlpha": "Load coeffdream alpha"}
