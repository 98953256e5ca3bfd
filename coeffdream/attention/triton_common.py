"""What the Triton kernels share: whom they serve, tile sizes, and loading rows of query, key or value."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

HEAD_DIMS = range(32, 129)
MAX_HEADS = 32
DTYPES = (torch.float16, torch.bfloat16, torch.float32)
LOG2_E = 1.4426950408889634


def interpreted() -> bool:
    """TRITON_INTERPRET=1 runs the kernels on the CPU, in numpy: for tests."""
    return triton.knobs.runtime.interpret


def why_not(query: Tensor, attn_mask: Tensor | None) -> str | None:
    """Why the kernels cannot serve this call, which is otherwise a good one; None if they can."""
    if (query.device.type != "cuda" or torch.version.hip is not None) and not interpreted():
        return "it needs a CUDA device"
    if query.device.type == "cuda" and torch.cuda.get_device_capability(query.device) < (8, 0):
        return "it needs compute capability 8.0 or newer"
    if query.dtype not in DTYPES:
        return "it serves float16, bfloat16 and float32"
    if query.shape[1] > MAX_HEADS:
        return f"it serves up to {MAX_HEADS} heads"
    if query.shape[-1] not in HEAD_DIMS:
        return f"it serves head dims {HEAD_DIMS.start} to {HEAD_DIMS.stop - 1}"
    if attn_mask is not None:
        return "it serves no attn_mask"
    return None


@dataclass(frozen=True)
class Tile:
    """Sizes of one program: query rows, keys at a time, output heads held in registers, warps, pipelining.

    Chosen by offline compilation for compute capability 8.0, 8.6, 8.9 and 9.0: no spilled registers
    (tests/attention/test_triton_compile.py); those of 9.0 took least time on an H100 (docs/performance.md).
    """

    rows: int
    keys: int
    warps: int
    stages: int
    group: int = 1

    @property
    def launch(self) -> dict[str, int]:
        return {"num_warps": self.warps, "num_stages": self.stages}


def one_head_tile(dtype: torch.dtype) -> Tile:
    """For kernels that hold one map tile at a time."""
    return Tile(rows=32, keys=32, warps=8, stages=1) if dtype == torch.float32 else Tile(64, 64, 4, 3)


def rows_last(tensor: Tensor) -> Tensor:
    """The kernels take any strides but want the head dim contiguous."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


@triton.jit
def load_rows(pointer, rows, stride, count, head_dim: tl.constexpr, padded_dim: tl.constexpr):
    """[rows, padded_dim] of a matrix [count, head_dim]; zeros beyond it."""
    d = tl.arange(0, padded_dim)
    inside = (rows[:, None] < count) & (d[None, :] < head_dim)
    return tl.load(pointer + rows[:, None] * stride + d[None, :], mask=inside, other=0.0)


@triton.jit
def store_rows(pointer, rows, stride, count, tile, head_dim: tl.constexpr, padded_dim: tl.constexpr):
    d = tl.arange(0, padded_dim)
    inside = (rows[:, None] < count) & (d[None, :] < head_dim)
    tl.store(pointer + rows[:, None] * stride + d[None, :], tile, mask=inside)
