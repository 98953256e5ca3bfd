"""How much memory a training step will take, before anything is loaded.

The step is run on shapes without values (the meta device) through the very modules of a real one,
while every storage that lives is counted. Not counted: the allocator's slack, library
workspaces and the CUDA context, about 1 GB on common cards.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from coeffdream.adapters.install import Adapter
from coeffdream.attention.checkpointing import checkpoint_keeping_attention
from coeffdream.attention.operator import OPERATOR
from coeffdream.config import TrainConfig

LATENT_FACTOR = 8  # pixels a latent spans, in SDXL and in the toybox
PROMPT_TOKENS = 77


@dataclass(frozen=True)
class MemoryForecast:
    """Bytes. `unet`: frozen weights; `adapter`: trained weights, gradients and Adam's moments;
    `activations`: the most that is alive at once during forward and backward."""

    unet: int
    adapter: int
    activations: int

    @property
    def total(self) -> int:
        return self.unet + self.adapter + self.activations


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all storages made while it is active, and remembers the peak.

    `already_there`: tensors that are not its business, though views of them will come by.
    """

    def __init__(self, already_there: Iterable[torch.Tensor]) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._layouts: dict[Any, Any] = {}
        self._known: weakref.WeakSet[Any] = weakref.WeakSet(
            tensor.untyped_storage() for tensor in already_there
        )

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # PyTorch works out in Python what shapes become; a UNet has the same blocks many times, so once for each call.
        call = (func, _layout(args), _layout(kwargs))
        again = call in self._layouts and func is not OPERATOR  # which checkpointing may keep
        result = _shaped(self._layouts[call]) if again else func(*args, **(kwargs or {}))
        # A view, and what was changed in place, are nothing new, and cannot be made again.
        new = [self._count(leaf) and leaf.is_meta for leaf in tree_leaves(result)]
        if all(new) and not again:
            self._layouts[call] = _layout(result)
        return result

    def _count(self, leaf: Any) -> bool:
        """Count a tensor's storage; whether it is a new one."""
        if not isinstance(leaf, torch.Tensor):
            return False
        storage = leaf.untyped_storage()
        if storage in self._known:
            return False
        size = storage.nbytes()
        self._known.add(storage)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._release, size)
        return True

    def _release(self, size: int) -> None:
        self.live -= size


class _Layout(NamedTuple):
    """A tensor without its values."""

    size: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device


def _layout(value: Any) -> Any:
    """Arguments or results of an operator as something to compare: tensors by their layout, numbers with their type."""
    if isinstance(value, torch.Tensor):
        return _Layout(value.shape, value.stride(), value.dtype, value.device)
    if isinstance(value, (list, tuple)):
        return tuple(map(_layout, value))
    if isinstance(value, dict):
        return tuple((name, _layout(each)) for name, each in value.items())
    return type(value), value


def _shaped(layout: Any) -> Any:
    if isinstance(layout, _Layout):
        return torch.empty_strided(layout.size, layout.stride, dtype=layout.dtype, device=layout.device)
    return tuple(map(_shaped, layout))


@contextlib.contextmanager
def flash_shapes() -> Iterator[None]:
    """Shapes without values would send scaled_dot_product_attention down the path that keeps whole maps;
    a card takes flash attention. (A TorchFunctionMode would do, but it is not in force when checkpointing
    recomputes.)"""

    def attention(
        query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **options: Any
    ) -> torch.Tensor:
        return torch.ops.aten._scaled_dot_product_flash_attention(query, key, value)[0]

    original = F.scaled_dot_product_attention
    # A stand-in for the block; the original is put back below.
    F.scaled_dot_product_attention = attention  # type: ignore[assignment]
    try:
        yield
    finally:
        F.scaled_dot_product_attention = original


def forecast_memory(unet: Any, adapter: Adapter, config: TrainConfig) -> MemoryForecast:
    """Run one training step of `config` on a UNet of shapes (meta device) with its adapter; say what it held."""
    trained = sum(parameter.nbytes for parameter in adapter.trainable.values())
    frozen = sum(parameter.nbytes for parameter in unet.parameters()) - trained
    if config.gradient_checkpointing:
        unet.enable_gradient_checkpointing(checkpoint_keeping_attention)
    unet.train()
    batch = config.batch_size * (2 if config.prior else 1)
    side = config.resolution // LATENT_FACTOR
    pooled = unet.config.projection_class_embeddings_input_dim - 6 * unet.config.addition_time_embed_dim

    def shaped(*shape: int) -> torch.Tensor:
        return torch.empty(shape, dtype=unet.dtype, device="meta")

    with LiveBytes(unet.parameters()) as counted, flash_shapes():
        predicted = unet(
            shaped(batch, unet.config.in_channels, side, side),
            torch.zeros(batch, device="meta"),
            encoder_hidden_states=shaped(batch, PROMPT_TOKENS, unet.config.cross_attention_dim),
            added_cond_kwargs={"text_embeds": shaped(batch, pooled), "time_ids": shaped(batch, 6).float()},
        ).sample
        predicted.float().square().mean().backward()
    # Gradients are made inside the step, and so are among what was counted alive.
    return MemoryForecast(unet=frozen, adapter=3 * trained, activations=counted.peak)
