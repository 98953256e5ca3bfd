"""Telling which model an adapter was made for, when it is not SDXL."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

# What only that model's adapters have in their keys, or in what they say of themselves.
KEYS = {
    "FLUX": r"(double_blocks|single_blocks|single_transformer_blocks)[._]",
    "Stable Diffusion 3": r"joint_blocks[._]|(?<!single_)transformer_blocks[._]\d+[._]attn[._]add_",
    "a diffusion transformer": r"^(lora_)?(transformer|diffusion_model)[._](layers|blocks|transformer_blocks)[._]",
}
SAYS = {
    "Stable Diffusion 1": r"^(sd_v1|sd_1|stable-diffusion-v1)",
    "Stable Diffusion 2": r"^(sd_v2|sd_2|stable-diffusion-v2)",
    "Stable Diffusion 3": r"^(sd3|stable-diffusion-3)",
    "FLUX": r"^flux",
}
# Width of the text that cross-attention reads; SDXL's is 2048.
TEXT_WIDTH = {768: "Stable Diffusion 1", 1024: "Stable Diffusion 2"}


def other_model(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str | None:
    """The model's name, or None when nothing speaks against SDXL."""
    for key in ("ss_base_model_version", "modelspec.architecture"):
        for model, pattern in SAYS.items():
            if re.match(pattern, metadata.get(key, "")):
                return model
    for model, pattern in KEYS.items():
        if any(re.search(pattern, key) for key in tensors):
            return model
    for key, tensor in tensors.items():
        if re.search(r"attn2[._](processor\.)?to_k.*(lora_down|lora_A|down)\.weight$", key):
            return TEXT_WIDTH.get(tensor.shape[1])
    return None
