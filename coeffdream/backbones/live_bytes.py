"""Counting the bytes of a computation's tensors while it runs, most usefully on shapes without values (the meta device).

Not counted: the allocator's slack, library workspaces and the CUDA context.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from coeffdream.attention.operator import OPERATOR


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
