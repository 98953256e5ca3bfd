"""What a training step, or a pass while drawing, costs beside the plain way of the same thing, in turn, in one process.

    python tests/step_ratios.py dora            # toybox: DoRA, and PEFT's own, to LoRA
    python tests/step_ratios.py checkpointing   # SDXL's 140 attention layers at tiny widths: ours to torch's own
    python tests/step_ratios.py fold            # toybox, eight pictures at a time: coeff-lora folded, to as it is
    python tests/step_ratios.py fold-quality    # the same with --preset quality
    python tests/step_ratios.py fold-other      # a LoRA of another tool, rank 8, on all linear layers of the blocks

Seconds are those of this process alone, so that other work moves them little; medians and the least over --rounds.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import functools
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from diffusers import UNet2DConditionModel
from peft.tuners.lora.variants import DoraLinearVariant
from torch import nn
from torch.utils.checkpoint import checkpoint

from coeffdream.adapters.install import ADAPTER_NAME, install, spec_for
from coeffdream.attention import choice
from coeffdream.attention.checkpointing import checkpoint_keeping_attention
from coeffdream.backbones.base import find_base
from coeffdream.backbones.load import load_components
from coeffdream.config import TrainConfig
from coeffdream.generation.adapted import PutOn
from coeffdream.generation.folding import folded
from coeffdream.interop.attach import attach
from coeffdream.interop.changes import Change, LowRank
from coeffdream.interop.read import OtherAdapter
from coeffdream.presets import PRESETS

FOR_GOOD = contextlib.ExitStack()
PROMPT_TOKENS = 77
# Blocks, transformer layers and heads as SDXL has them; widths of a few channels, so that Python is what is timed.
SDXL_IN_SMALL = {
    "sample_size": 16,
    "block_out_channels": (20, 40, 80),
    "layers_per_block": 2,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 64,
    "norm_num_groups": 5,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 64,
}


def pass_of(unet: Any, batch: int) -> Callable[[], Any]:
    """What the UNet predicts of drawn values."""
    side, config = unet.config.sample_size, unet.config
    pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
    noisy = torch.randn(batch, config.in_channels, side, side)
    embeds = torch.randn(batch, PROMPT_TOKENS, config.cross_attention_dim)
    added = {"text_embeds": torch.randn(batch, pooled), "time_ids": torch.ones(batch, 6)}
    return lambda: (
        unet(noisy, torch.tensor([300]), encoder_hidden_states=embeds, added_cond_kwargs=added).sample
    )


def step_of(unet: Any, prepare: Callable[[], None] = lambda: None) -> Callable[[], None]:
    """Forward and backward of one sample."""
    predicted = pass_of(unet, 1)

    def step() -> None:
        prepare()
        unet.zero_grad()
        predicted().square().mean().backward()

    return step


def dora() -> dict[str, Callable[[], None]]:
    components = load_components(find_base("toybox"), device=torch.device("cpu"), dtype=torch.float32)
    steps = {}
    for name in ("lora", "dora", "PEFT's dora"):
        unet = copy.deepcopy(components.unet).train()
        adapter = install(unet, spec_for(TrainConfig(method=name.split()[-1]), unet), seed=0)
        if name.startswith("PEFT"):
            for path in adapter.spec.lora:
                unet.get_submodule(path).lora_variant[ADAPTER_NAME] = DoraLinearVariant()
        steps[name] = step_of(unet)
    return steps


def checkpointing() -> dict[str, Callable[[], None]]:
    unet = UNet2DConditionModel(in_channels=4, out_channels=4, **SDXL_IN_SMALL).train()
    install(unet, spec_for(TrainConfig(method="coeff-lora"), unet), seed=0)
    ways = {
        "torch's": functools.partial(checkpoint, use_reentrant=False),
        "ours": checkpoint_keeping_attention,
    }
    return {
        name: step_of(unet, functools.partial(unet.enable_gradient_checkpointing, way))
        for name, way in ways.items()
    }


def fold(preset: str | None) -> dict[str, Callable[[], None]]:
    """preset: of an adapter of ours; None for one of another tool, which draws by forward hooks."""
    components = load_components(find_base("toybox"), device=torch.device("cpu"), dtype=torch.float32)
    ways: dict[str, Callable[[], None]] = {}
    for name in ("as it is", "folded"):
        unet = copy.deepcopy(components.unet).eval()
        if preset:
            config = TrainConfig(method="coeff-lora", **PRESETS[preset])
            on = PutOn(install(unet, spec_for(config, unet), seed=0), attach([], {}), False)
            for (
                parameter
            ) in on.adapter.trainable.values():  # the start is the base, whose heads are not mixed
                parameter.data += 0.01 * torch.randn(parameter.shape)
        else:
            changes = {
                path: Change(
                    LowRank(torch.randn(8, each.in_features), torch.randn(each.out_features, 8) / 100)
                )
                for path, each in unet.named_modules()
                if isinstance(each, nn.Linear) and "transformer_blocks" in path
            }
            other = OtherAdapter(Path("other.safetensors"), "0", {"unet": changes}, {})
            on = PutOn(None, attach([(other, 1.0)], {"unet": unet}), False)
        if name == "folded":
            FOR_GOOD.enter_context(folded(unet, on))
        ways[name] = torch.no_grad()(pass_of(unet, 16))
    return ways


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ways = {"dora": dora, "checkpointing": checkpointing}
    ways |= {"fold": functools.partial(fold, "paper"), "fold-quality": functools.partial(fold, "quality")}
    ways |= {"fold-other": functools.partial(fold, None)}
    parser.add_argument("what", choices=tuple(ways))
    parser.add_argument("--rounds", type=int, default=10)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    # Maps this small would be mixed by the plain definition; SDXL's own take the operator.
    small = choice.REFERENCE_MAP_BYTES if given.what.startswith("fold") else 0
    with mock.patch.object(choice, "REFERENCE_MAP_BYTES", small):
        steps = ways[given.what]()
        seconds: dict[str, list[float]] = {name: [] for name in steps}
        for _ in range(given.rounds + 1):
            for name, step in steps.items():
                started = time.process_time()
                step()
                seconds[name].append(time.process_time() - started)
    timed = {name: each[1:] for name, each in seconds.items()}  # the first call warms up
    plain = next(iter(timed))
    for name, each in timed.items():
        ratio, least = (of(each) / of(timed[plain]) for of in (statistics.median, min))
        print(f"{name:12} {statistics.median(each):.4f} s  to {plain}: median {ratio:.2f}, least {least:.2f}")


if __name__ == "__main__":
    main()
