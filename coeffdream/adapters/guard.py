"""Refusing to draw when something has taken a part of an adapter out of force.

diffusers replaces attention processors and switches LoRAs off without a word, and what is drawn then is
neither the base nor what was learned.
"""

from __future__ import annotations

from typing import Any

from coeffdream.adapters.install import Adapter
from coeffdream.adapters.peft_types import ADAPTER_NAME
from coeffdream.errors import AdapterError

REPLACED = (
    "enable_attention_slicing, set_attn_processor, fuse_qkv_projections, PAG and IP-Adapters do so, and cannot be "
    "used with mixed heads: coeffdream.unload(pipe) first, or load with a run that has no alpha"
)


def guard(adapter: Adapter) -> Any:
    """Check at every call of the UNet; returns the handle that ends it."""
    return adapter.unet.register_forward_pre_hook(lambda *_: check_in_force(adapter))


def check_in_force(adapter: Adapter) -> None:
    """Raises AdapterError when a processor was replaced, or what else is there removed or switched off."""
    for path, processor in adapter.processors.items():
        current = adapter.unet.get_submodule(path).processor
        if current is not processor:
            raise AdapterError(
                f"{path} has a {type(current).__name__} in place of the trained head mixing. {REPLACED}"
            )
    if adapter.part and (fault := adapter.part.fault()):
        raise AdapterError(
            f"{fault}, so what {adapter.spec.method} learned is not in force; coeffdream.unload(pipe), and load it again"
        )
    for path in adapter.spec.lora:
        layer: Any = adapter.unet.get_submodule(path)
        if ADAPTER_NAME not in getattr(layer, "lora_A", ()):
            raise AdapterError(
                f"the LoRA of {path} was taken out (unload_lora_weights does so) while the head mixing stayed; "
                "take out both with coeffdream.unload(pipe)"
            )
        if layer.disable_adapters or ADAPTER_NAME not in layer.active_adapters:
            others = [name for name in layer.active_adapters if name != ADAPTER_NAME]
            names = ", ".join(repr(name) for name in [ADAPTER_NAME, *others])
            raise AdapterError(
                f"the LoRA of {path} was switched off (a second load_lora_weights does so); to draw with both: "
                f"pipe.set_adapters([{names}]), without ours: coeffdream.unload(pipe)"
            )
