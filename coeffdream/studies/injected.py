"""What PEFT puts beside a model's own projections in a study: LoRA, DoRA, OFT on queries and values."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from coeffdream.errors import AttentionError

# The low-rank part sits where LoRA's authors put it: on queries and values. transformers has two names for each.
QUERY_AND_VALUE = ("q_proj", "v_proj", "query", "value")
OFT_BLOCK = 8
INJECTED = ("lora", "dora", "oft")


def inject(model: Any, method: str, rank: int, seed: int) -> list[nn.Parameter]:
    """PEFT's parameters on every projection to queries and values. Raises AttentionError where there are none."""
    from peft import LoraConfig, OFTConfig, inject_adapter_in_model

    targets = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name.rpartition(".")[2] in QUERY_AND_VALUE
    ]
    if not targets:
        raise AttentionError(
            f"a {type(model).__name__} has no projections called {', '.join(QUERY_AND_VALUE)}, which {method} is to change; "
            "leave that arm out of --arms"
        )
    before = {id(each) for each in model.parameters()}
    config: Any = (
        OFTConfig(target_modules=targets, oft_block_size=OFT_BLOCK)
        if method == "oft"
        else LoraConfig(target_modules=targets, r=rank, lora_alpha=rank, use_dora=method == "dora")
    )
    with torch.random.fork_rng(devices=[]):  # PEFT draws its first values from torch's own generator
        torch.manual_seed(seed)
        inject_adapter_in_model(config, model)
    return [each for each in model.parameters() if id(each) not in before]
