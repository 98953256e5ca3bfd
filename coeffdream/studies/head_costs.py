"""What the number of heads makes of alpha's cost: from the shapes of large models, and measured on one layer.

A layer of H heads of width d has H^2 coefficients. Mixing its maps takes 2 N M H^2 operations beside the 4 N M H d of
QK^T and of the product with V: H / 2d of them, whatever the number of tokens. So cost grows with the heads and falls with
their width.

Shape letters: B batch, H heads, N queries, M keys, d width of a head.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coeffdream.adapters.layers import attention_layers
from coeffdream.attention import mixed_attention
from coeffdream.diffusion.noise import generator_for
from coeffdream.progress import Progress

LORA_RANK = 2
# As diffusers and transformers call the projections that LoRA's authors adapt.
QUERY_AND_VALUE = ("to_q", "to_v", "q_proj", "v_proj")


@dataclass(frozen=True)
class Cost:
    """Of alpha in every attention layer of a model.

    `lora`: parameters of a LoRA of rank 2 on queries and values. `operations`: of mixing, as a share of those of
    attention without its projections, in the layer with the most heads.
    """

    model: str
    layers: int
    heads: int
    head_width: int
    parameters: int
    coefficients: int
    lora: int
    operations: float


@dataclass(frozen=True)
class Timing:
    """Forward and backward of one layer of this many heads: seconds of each repeat, plain and with mixed heads."""

    heads: int
    plain: list[float]
    mixed: list[float]

    @property
    def ratio(self) -> float:
        return statistics.median(self.mixed) / statistics.median(self.plain)


def model_costs() -> list[Cost]:
    """Of real architectures, built without weights, and of one layer of 100 heads.

    Sizes of the two large decoders: arXiv 2005.14165, Table 2.1.
    """
    return [_cost(name, build) for name, build in _models().items()]


def _models() -> dict[str, Callable[[], nn.Module]]:
    import transformers as hf

    from coeffdream.backbones.base import find_base
    from coeffdream.backbones.load import meta_unet

    def on_meta(kind: str, **sizes: Any) -> nn.Module:
        with torch.device("meta"):
            made: nn.Module = getattr(hf, f"{kind}Model")(getattr(hf, f"{kind}Config")(**sizes))
        return made

    def decoder(width: int, heads: int, layers: int) -> nn.Module:
        # Three matrices where GPT-3 has two: as many parameters as there.
        sizes = {"hidden_size": width, "intermediate_size": 8 * width // 3, "num_hidden_layers": layers}
        return on_meta("Llama", **sizes, num_attention_heads=heads)

    parts = ("encoder", "decoder")
    bart = {f"{part}_{what}": n for part in parts for what, n in (("layers", 6), ("attention_heads", 12))}
    return {
        "SDXL's UNet": lambda: meta_unet(find_base("sdxl")),
        "ViT-B/16": lambda: on_meta("ViT"),
        "BART-base": lambda: on_meta("Bart", d_model=768, **bart),
        "as GPT-3 6.7B": lambda: decoder(4096, 32, 32),
        "as GPT-3 175B": lambda: decoder(12288, 96, 96),
        "100-head layer": lambda: decoder(12800, 100, 1),
    }


def _cost(name: str, build: Callable[[], nn.Module]) -> Cost:
    model = build()
    layers = attention_layers(model)
    heads, head_width = max((layer.heads, layer.head_width) for layer in layers)
    adapted = [
        module
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear) and path.rpartition(".")[2] in QUERY_AND_VALUE
    ]
    return Cost(
        model=name,
        layers=len(layers),
        heads=heads,
        head_width=head_width,
        parameters=sum(each.numel() for each in model.parameters()),
        coefficients=sum(layer.heads**2 for layer in layers),
        lora=sum(LORA_RANK * (each.in_features + each.out_features) for each in adapted),
        operations=heads / (2 * head_width),
    )


def time_heads(
    counts: Sequence[int], *, width: int, tokens: int, repeats: int, progress: Progress
) -> list[Timing]:
    """One self-attention layer of `width` channels over `tokens`, cut into each number of heads, in float32 on the CPU.

    Plain attention and attention with residual coefficients run in turn, so that what else the machine does falls on both.
    """
    timings = [Timing(heads, [], []) for heads in counts]
    work = {heads: _work(heads, width // heads, tokens) for heads in counts}
    for plain, mixed in work.values():  # the first call of a shape allocates and chooses
        plain(), mixed()
    for repeat in range(repeats):
        for timing in timings:
            plain, mixed = work[timing.heads]
            timing.plain.append(_seconds(plain))
            timing.mixed.append(_seconds(mixed))
        progress("one layer", repeat + 1, repeats, "")
    return timings


def _work(heads: int, head_width: int, tokens: int) -> tuple[Callable[[], None], Callable[[], None]]:
    query, key, value = (
        torch.randn(1, heads, tokens, head_width, generator=generator_for(0, name)).requires_grad_()
        for name in ("heads-query", "heads-key", "heads-value")
    )
    alpha = (0.1 * torch.randn(heads, heads, generator=generator_for(0, "heads-alpha"))).requires_grad_()

    def plain() -> None:
        _backward(F.scaled_dot_product_attention(query, key, value))

    def mixed() -> None:
        _backward(mixed_attention(query, key, value, alpha, residual=True))

    return plain, mixed


def _backward(output: Tensor) -> None:
    # torch leaves backward without types.
    output.sum().backward()  # type: ignore[no-untyped-call]


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
