"""How adapter files of the world spell a module and its parts.

A key is a module's name and a part: `lora_unet_input_blocks_4_1_proj_in` `.lora_down.weight`,
`unet.down_blocks.1.attentions.0.proj_in` `.lora_A.weight`, `base_model.model.conv_in` `.hada_w1_a`.
"""

from __future__ import annotations

import re
from typing import Any

from coeffdream.interop.names import TEXT_ENCODERS, UNET, sgm_blocks, sgm_name

# Endings, and what they are called here. kohya, LyCORIS and OneTrainer; PEFT and diffusers; diffusers before PEFT.
PART = re.compile(
    r"(?P<module>.+?)(?:"
    r"\.(?P<kohya>lora_down|lora_up|lora_mid)\.weight"
    r"|\.(?P<peft>lora_A|lora_B)(?:\.default)?\.weight"
    r"|(?:_lora|\.lora|\.lora_linear_layer)\.(?P<old>down|up)\.weight"
    r"|\.(?P<magnitude>lora_magnitude_vector|dora_scale)(?:\.default)?(?:\.weight)?"
    r"|\.(?P<plain>alpha|diff|hada_(?:w[12]_[ab]|t[12])|lokr_(?:w[12](?:_[ab])?|t2))"
    r")"
)
SAME_PART = {"lora_A": "down", "lora_B": "up", "lora_down": "down", "lora_up": "up", "lora_mid": "mid"}

TEXT_LAYER_PARTS = r"(self_attn[._](?:q|k|v|out)_proj|mlp[._]fc[12])"
FLAT_TEXT = re.compile(rf"lora_te([12]?)_(?:text_model_)?encoder_layers_(\d+)_{TEXT_LAYER_PARTS}")
DOTTED_TEXT = re.compile(
    rf"(?:base_model\.model\.)?(text_encoder(?:_2)?|text_encoders\.clip_[lg]\.transformer)\."
    rf"(?:text_model\.)?encoder\.layers\.(\d+)\.{TEXT_LAYER_PARTS}"
)
WHICH_TEXT = {"text_encoders.clip_l.transformer": 0, "text_encoders.clip_g.transformer": 1}


def split_key(key: str) -> tuple[str, str] | None:
    """A key's module and part: down, up, mid, alpha, magnitude, dora_scale, diff, hada_..., lokr_...; else None."""
    found = PART.fullmatch(key)
    if found is None:
        return None
    part = found["kohya"] or found["peft"] or found["old"] or found["plain"]
    if found["magnitude"]:
        part = "dora_scale" if found["magnitude"] == "dora_scale" else "magnitude"
    return found["module"], SAME_PART.get(part, part)


class ModuleNames:
    """Which module of an SDXL model a name in a file means; made for one UNet (meta device is enough)."""

    def __init__(self, unet: Any) -> None:
        import torch

        self.shapes: dict[str, tuple[int, ...]] = {}
        self._known: dict[str, str] = {}
        blocks = sgm_blocks(unet)
        for name, module in unet.named_modules():
            if not isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):
                continue
            path, sgm = name, sgm_name(name, blocks)
            self.shapes[path] = tuple(module.weight.shape)
            old = path.replace(".to_", ".processor.to_").removesuffix(".0")
            dotted = [path, old, sgm]
            spelled = [prefix + each for each in dotted for prefix in ("", "unet.", "base_model.model.")]
            spelled += [
                f"base_model.model.unet.{path}",
                f"diffusion_model.{sgm}",
                f"model.diffusion_model.{sgm}",
            ]
            spelled += ["lora_unet_" + each.replace(".", "_") for each in (path, sgm)]
            self._known |= dict.fromkeys(spelled, path)

    def find(self, module: str) -> tuple[str, str] | None:
        """(component, path in it), None for a module that SDXL has not. A text encoder's path begins with
        encoder.layers, whether or not the class at hand has `text_model.` before it."""
        if module in self._known:
            return UNET, self._known[module]
        if found := FLAT_TEXT.fullmatch(module):
            which = 1 if found[1] == "2" else 0
            part = found[3].replace("self_attn_", "self_attn.").replace("mlp_", "mlp.")
            return TEXT_ENCODERS[which], f"encoder.layers.{found[2]}.{part}"
        if found := DOTTED_TEXT.fullmatch(module):
            component = TEXT_ENCODERS[WHICH_TEXT[found[1]]] if found[1] in WHICH_TEXT else found[1]
            return component, f"encoder.layers.{found[2]}.{found[3]}"
        return None
