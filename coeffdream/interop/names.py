"""What other tools call the modules of an SDXL model.

ComfyUI, A1111, Forge and kohya's scripts keep the names of Stability's own code (sgm), where the UNet is
three flat lists: input_blocks, middle_block, output_blocks. Which number a block has there follows from the
architecture alone, so the mapping is made from the UNet at hand and holds for its miniatures too.
"""

from __future__ import annotations

import re
from typing import Any

from coeffdream.errors import AdapterError
from coeffdream.records.adapter_names import ADAPTER_FILES

UNET = "unet"
TEXT_ENCODERS = ("text_encoder", "text_encoder_2")  # CLIP-L and CLIP-G: lora_te1_ and lora_te2_

# Modules outside the blocks.
OUTSIDE = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_out": "out.2",
}
# Modules that have another name inside their block; a transformer's are the same in both.
INSIDE = {
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
BLOCK = re.compile(r"((?:(?:down|up)_blocks\.\d+|mid_block)\.(\w+)\.\d+)\.(.+)")
TEXT_LAYER = re.compile(r"(?:text_model\.)?(encoder\.layers\.\d+\..+|text_projection)")


def sgm_blocks(unet: Any) -> dict[str, str]:
    """diffusers' name of every resnet, attention and sampler of a UNet -> the original's."""
    blocks: dict[str, str] = {}

    def column(kind: str, index: int, block: Any, first: int) -> int:
        """One block's resnets, each with its attention; where the next block begins."""
        attentions = getattr(block, "attentions", None) or []
        for number, _ in enumerate(block.resnets):
            place = f"{kind}_blocks.{first + number}"
            side = "down" if kind == "input" else "up"
            blocks[f"{side}_blocks.{index}.resnets.{number}"] = f"{place}.0"
            if attentions:
                blocks[f"{side}_blocks.{index}.attentions.{number}"] = f"{place}.1"
        return first + len(block.resnets)

    place = 1  # conv_in is number 0
    for index, block in enumerate(unet.down_blocks):
        place = column("input", index, block, place)
        if block.downsamplers:
            blocks[f"down_blocks.{index}.downsamplers.0"] = f"input_blocks.{place}.0"
            place += 1
    blocks |= {
        "mid_block.resnets.0": "middle_block.0",
        "mid_block.attentions.0": "middle_block.1",
        "mid_block.resnets.1": "middle_block.2",
    }
    place = 0
    for index, block in enumerate(unet.up_blocks):
        place = column("output", index, block, place)
        if block.upsamplers:
            behind = 2 if getattr(block, "attentions", None) else 1
            blocks[f"up_blocks.{index}.upsamplers.0"] = f"output_blocks.{place - 1}.{behind}"
    return blocks


def sgm_name(path: str, blocks: dict[str, str]) -> str:
    """The original's name of a UNet module; `blocks` from `sgm_blocks`. Raises AdapterError."""
    if path in OUTSIDE:
        return OUTSIDE[path]
    found = BLOCK.fullmatch(path)
    if found is None or found[1] not in blocks:
        raise AdapterError(f"{path} has no place in the original numbering of SDXL's UNet")
    block, kind, module = found.groups()
    if kind == "resnets":
        module = INSIDE.get(module, module)
    elif kind == "downsamplers":
        module = module.replace("conv", "op")
    return f"{blocks[block]}.{module}"


def kohya_name(component: str, path: str, blocks: dict[str, str]) -> str:
    """lora_unet_input_blocks_4_1_..., lora_te1_text_model_encoder_layers_0_...: the key's first part."""
    if component == UNET:
        return "lora_unet_" + sgm_name(path, blocks).replace(".", "_")
    found = TEXT_LAYER.fullmatch(path)
    if found is None:
        raise AdapterError(f"{component}.{path} is no layer of a CLIP text encoder")
    inner = found[1] if found[1] == "text_projection" else f"text_model.{found[1]}"
    return f"lora_te{TEXT_ENCODERS.index(component) + 1}_" + inner.replace(".", "_")


def portable_name(run: str) -> str:
    """The file beside a run's own adapter files that other tools load."""
    name = f"{run}.safetensors"
    return f"lora-{name}" if name in ADAPTER_FILES else name
