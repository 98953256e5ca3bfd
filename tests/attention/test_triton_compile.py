from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import torch

triton = pytest.importorskip("triton", reason="triton comes with the CUDA builds of torch")

from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from coeffdream.attention import triton_backward, triton_forward  # noqa: E402
from coeffdream.attention.triton_common import one_head_tile  # noqa: E402

# Shared memory that one block may use, bytes, by compute capability.
SHARED = {80: 163 << 10, 86: 99 << 10, 89: 99 << 10, 90: 227 << 10}
TYPES = {torch.float16: "fp16", torch.bfloat16: "bf16", torch.float32: "fp32"}
FLOAT32_POINTERS = {"mixing", "lse", "delta", "grad_mixing"}
POINTERS = FLOAT32_POINTERS | {"query", "key", "value", "out", "maps", "grads"}
ACROSS_HEADS = ("couple", "rows")
SIZES = {"heads", "queries", "keys", "splits", "keys_per_split", "rows_here"}


@pytest.fixture
def own_compiler(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("TRITON_DEFAULT_FP_FUSION", "1")  # or Triton 3.9 warns that its default will change


def _compile(kernel, capability, dtype, tile, constants):
    signature, alignment = {}, {}
    for position, name in enumerate(kernel.arg_names):
        if name in constants:
            signature[name] = "constexpr"
        elif name in POINTERS:
            signature[name] = "*fp32" if name in FLOAT32_POINTERS else f"*{TYPES[dtype]}"
        else:
            signature[name] = "fp32" if name.startswith("scale") else "i32"
        if name in POINTERS or (signature[name] == "i32" and name not in SIZES):
            alignment[(position,)] = [["tt.divisibility", 16]]  # as torch's tensors and strides are
    source = ASTSource(kernel, signature, constants, alignment)
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=tile.launch)


def _registers_and_stack(compiled, folder):
    """Registers of a thread, and bytes of its stack, which is where spilled registers go."""
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    (folder / "kernel.cubin").write_bytes(compiled.asm["cubin"])
    command = [tool, "--dump-resource-usage", folder / "kernel.cubin"]
    usage = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return int(re.search(r"REG:(\d+)", usage)[1]), int(re.search(r"STACK:(\d+)", usage)[1])


def _kernel(name, capability, dtype, head_dim, heads):
    """The kernel with the tile that the launch code would choose."""
    dims = {"head_dim": head_dim, "padded_dim": triton.next_power_of_2(head_dim)}
    if name in ACROSS_HEADS:
        padded = max(16, triton.next_power_of_2(heads))
        coupled, across = triton_backward.heads_tiles(padded, dtype)
        precision = "tf32x3" if dtype == torch.float32 else "tf32"
        constants = {"padded_heads": padded, "precision": precision}
        if name == "couple":
            return triton_backward.couple_kernel, coupled, constants | {"key_block": coupled.keys}
        blocks = {"key_block": across.keys, "rows_each": across.rows}
        return triton_backward.rows_kernel, across, constants | blocks
    if name in ("lse", "maps"):
        tile = one_head_tile(dtype)
        kernel = triton_forward.lse_kernel if name == "lse" else triton_backward.maps_kernel
        return kernel, tile, dims | {"row_block": tile.rows, "key_block": tile.keys}
    of_card = divmod(capability, 10)
    if name in ("small", "few"):
        queries = 4096 if name == "small" else 1024
        tile, kernel = triton_forward.small_tile(of_card, head_dim, queries, 77), triton_forward.small_kernel
    else:
        tile, kernel = triton_forward.mix_tile(of_card, dtype, head_dim), triton_forward.mix_kernel
    group = min(tile.group, heads)
    blocks = {"row_block": tile.rows, "key_block": tile.keys}
    return kernel, tile, dims | blocks | {"group": group}


QUICK = [
    ("mix", 90, torch.bfloat16, 64, 10),
    ("mix", 86, torch.float16, 64, 20),
    ("small", 89, torch.float16, 64, 10),
]
QUICK += [(name, 90, torch.bfloat16, 64, 20) for name in ACROSS_HEADS]
ALL = [
    (name, capability, dtype, head_dim, heads)
    for name in ("mix", "small", "few", "lse", "maps", *ACROSS_HEADS)
    for capability in SHARED
    for dtype in TYPES
    for head_dim in (64, 128)
    for heads in (10, 20)
    if not (name in ("small", "few") and dtype == torch.float32)  # float32 takes the general kernel
    and not (name in ACROSS_HEADS and head_dim == 128)  # it does not see the head dim
    and (name in ACROSS_HEADS or heads == 10)  # the others do not see the heads
]


@pytest.mark.parametrize(
    "case", QUICK + [pytest.param(case, marks=pytest.mark.slow) for case in ALL if case not in QUICK]
)
def test_kernels_fit_the_card(case, tmp_path, own_compiler):
    """Compiled offline with the tiles that a launch would choose: no register spills, and shared memory is
    within what a block may have."""
    _, capability, dtype, _, _ = case
    kernel, tile, constants = _kernel(*case)
    compiled = _compile(kernel, capability, dtype, tile, constants)
    registers, stack = _registers_and_stack(compiled, tmp_path)
    assert registers <= 255
    assert stack == 0
    assert compiled.metadata.shared <= SHARED[capability]


@pytest.mark.parametrize("name", ["mix", "small", "lse", "maps", *ACROSS_HEADS])
def test_sizes_of_one_compile(name, own_compiler):
    """Triton makes constants of arguments that are 1: one head, one query, one key, one split."""
    kernel, tile, constants = _kernel(name, 90, torch.float16, 32, 1)
    ones = dict.fromkeys(SIZES & set(kernel.arg_names), 1)
    assert _compile(kernel, 90, torch.float16, tile, constants | ones).asm["cubin"]
