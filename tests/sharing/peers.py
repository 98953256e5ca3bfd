"""A LoRA file as kohya's scripts would write it for the random miniature."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file


def kohya_file(file: Path, *, text: bool = True, trigger: str = "") -> Path:
    """Cross-attention q and v of the mid block, width 32, and one layer of each text encoder, width 16."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    places = {
        f"lora_unet_middle_block_1_transformer_blocks_0_attn2_to_{part}": (32, 32) for part in ("q", "v")
    }
    if text:
        places |= {f"lora_te{n}_text_model_encoder_layers_0_mlp_fc1": (32, 16) for n in (1, 2)}
    for name, (out, into) in places.items():
        tensors[f"{name}.lora_down.weight"] = 0.5 * torch.randn(2, into, generator=generator)
        tensors[f"{name}.lora_up.weight"] = 0.5 * torch.randn(out, 2, generator=generator)
        tensors[f"{name}.alpha"] = torch.tensor(2.0)
    said = {"ss_base_model_version": "sdxl_base_v1-0"}
    save_file(tensors, file, said | ({"modelspec.trigger_phrase": trigger} if trigger else {}))
    return file
