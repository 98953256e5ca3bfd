"""Mixed attention's backward in Triton, semi-fused: two maps of a few hundred query rows at a time.

Per chunk of rows the maps P^i and dP^_h = dO_h V_h^T are written once. Then two kernels see a query row of all
heads at once, a [H, keys] tile, and do everything that couples the heads as small products over the head axis, the
second in place (notation of chunked.py):

    c_hi = sum_m dP^_h P^i      da_hi = sum over rows of c_hi      delta_i = sum_h a_hi c_hi
    P^_h = sum_i a_hi P^i       dS_i = scale P^i o (sum_h a_hi dP^_h - delta_i)

P^ replaces P and dS replaces dP^; plain matrix products make dQ, dK and dV of them.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from coeffdream.attention.triton_common import LOG2_E, Tile, load_rows, one_head_tile, rows_last

# Bytes of one of the two map buffers: 1024 rows at 10 heads and 4096 keys in half precision.
CHUNK_BYTES = 80 << 20
# Each sums its part of the gradient of mixing; fewer are too few for the card, more are more to add up.
ROW_PROGRAMS = {16: 528, 32: 264}


@triton.jit
def maps_kernel(
    query, key, lse, maps, scale_log2, rows_here, queries, keys, pitch,
    query_h, query_n, key_h, key_m, maps_h, maps_n,
    head_dim: tl.constexpr, padded_dim: tl.constexpr, row_block: tl.constexpr, key_block: tl.constexpr,
):  # fmt: skip
    """maps [H,rows,pitch] of one chunk of one sample, 0 beyond its keys; lse starts at the chunk's first row."""
    rows = tl.program_id(0) * row_block + tl.arange(0, row_block)
    columns = tl.program_id(1) * key_block + tl.arange(0, key_block)
    head = tl.program_id(2)
    q = load_rows(query + head * query_h, rows, query_n, rows_here, head_dim, padded_dim)
    k = load_rows(key + head * key_h, columns, key_m, keys, head_dim, padded_dim)
    row_lse = tl.load(lse + head * queries + rows, mask=rows < rows_here, other=0.0)
    tile = tl.exp2(tl.dot(q, tl.trans(k), input_precision="ieee") * scale_log2 - row_lse[:, None])
    tile = tl.where(columns[None, :] < keys, tile, 0.0)
    inside = (rows[:, None] < rows_here) & (columns[None, :] < pitch)
    place = maps + head.to(tl.int64) * maps_h + rows[:, None] * maps_n + columns[None, :]
    tl.store(place, tile.to(maps.dtype.element_ty), mask=inside)


@triton.jit
def couple_kernel(
    maps, grads, mixing, delta, grad_mixing, heads, rows_here, keys, maps_h, maps_n,
    padded_heads: tl.constexpr, key_block: tl.constexpr, precision: tl.constexpr,
):  # fmt: skip
    """delta [H,rows]; grad_mixing [programs,padded_heads,padded_heads] gets this program's part: a [H, keys] tile of one row
    at a time."""
    head = tl.arange(0, padded_heads)
    columns = tl.arange(0, key_block)
    square = (head[:, None] < heads) & (head[None, :] < heads)
    a = tl.load(mixing + head[:, None] * heads + head[None, :], mask=square, other=0.0)
    grad_a = tl.zeros([padded_heads, padded_heads], tl.float32)
    for row in range(tl.program_id(0), rows_here, tl.num_programs(0)):
        tile = head[:, None].to(tl.int64) * maps_h + row * maps_n + columns[None, :]
        c = tl.zeros([padded_heads, padded_heads], tl.float32)
        for first in range(0, keys, key_block):
            inside = (head[:, None] < heads) & (first + columns[None, :] < keys)
            p = tl.load(maps + tile + first, mask=inside, other=0.0)
            g = tl.load(grads + tile + first, mask=inside, other=0.0)
            c = tl.dot(g, tl.trans(p), c, input_precision=precision)
        grad_a += c
        tl.store(delta + head * rows_here + row, tl.sum(a * c, 0), mask=head < heads)
    whole = tl.program_id(0) * padded_heads * padded_heads + head[:, None] * padded_heads + head[None, :]
    tl.store(grad_mixing + whole, grad_a)


@triton.jit
def rows_kernel(
    maps, grads, mixing, delta, scale, heads, rows_here, keys, maps_h, maps_n,
    padded_heads: tl.constexpr, key_block: tl.constexpr, rows_each: tl.constexpr, precision: tl.constexpr,
):  # fmt: skip
    """In place: maps P -> P^ and grads dP^ -> dS, key_block keys of rows_each rows a program, all heads at once."""
    head = tl.arange(0, padded_heads)
    columns = tl.program_id(0) * key_block + tl.arange(0, key_block)
    inside = (head[:, None] < heads) & (columns[None, :] < keys)
    square = (head[:, None] < heads) & (head[None, :] < heads)
    a = tl.load(mixing + head[:, None] * heads + head[None, :], mask=square, other=0.0)
    turned = tl.load(mixing + head[None, :] * heads + head[:, None], mask=square, other=0.0)
    first = tl.program_id(1) * rows_each
    for row in range(first, tl.minimum(first + rows_each, rows_here)):
        tile = head[:, None].to(tl.int64) * maps_h + row * maps_n + columns[None, :]
        p = tl.load(maps + tile, mask=inside, other=0.0)
        g = tl.load(grads + tile, mask=inside, other=0.0)
        row_delta = tl.load(delta + head * rows_here + row, mask=head < heads, other=0.0)
        mixed = weighed(a, p, precision)
        grad_s = scale * p.to(tl.float32) * (weighed(turned, g, precision) - row_delta[:, None])
        tl.debug_barrier()  # all of this row is read before any of it is written
        tl.store(maps + tile, mixed.to(maps.dtype.element_ty), mask=inside)
        tl.store(grads + tile, grad_s.to(grads.dtype.element_ty), mask=inside)


@triton.jit
def weighed(weights, tile, precision: tl.constexpr):
    """weights [H,H] float32 times tile [H,keys]. Beside halves the weights are a sum of two: 16 bits, or 22, of them."""
    if tile.dtype == tl.float32:
        return tl.dot(weights, tile, input_precision=precision)
    high = weights.to(tile.dtype)
    low = (weights - high.to(tl.float32)).to(tile.dtype)
    return tl.dot(low, tile, tl.dot(high, tile))


def backward(
    grad_out: Tensor,
    lse: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mixing: Tensor,
    attn_mask: None,
    scale: float | None,
    grads: tuple[Tensor, ...],
    needed: list[bool],
) -> None:
    """Fills the gradients of query, key, value and mixing that are needed; memory: two chunks of maps."""
    need_query, need_key, need_value, need_mixing = needed
    grad_query, grad_key, grad_value, grad_mixing = grads
    batch, heads, queries, head_dim = query.shape
    keys = key.shape[2]
    scale = head_dim**-0.5 if scale is None else scale
    a = mixing.float().contiguous()
    # The matrix products like rows of a multiple of 16 elements, so keys and values are lengthened with zeros.
    pitch = triton.cdiv(keys, 16) * 16
    step = max(1, min(queries, CHUNK_BYTES // (heads * pitch * query.element_size())))
    buffers = torch.empty(2, heads, step, pitch, dtype=query.dtype, device=query.device)
    padded_heads = max(16, triton.next_power_of_2(heads))
    programs = min(step, ROW_PROGRAMS[padded_heads])
    one, coupled, across = one_head_tile(query.dtype), *heads_tiles(padded_heads, query.dtype)
    delta = torch.empty(heads, step, dtype=torch.float32, device=query.device)
    parts = torch.empty(programs, padded_heads, padded_heads, dtype=torch.float32, device=query.device)
    mixing_sum = torch.zeros_like(a)
    # Maps in half precision are known to fewer bits than tf32 has.
    precision = "tf32x3" if query.dtype == torch.float32 else "tf32"
    for b in range(batch):
        q, do = rows_last(query[b]), rows_last(grad_out[b])
        k, v = (rows_last(t[b]) for t in (key, value))
        if pitch > keys:
            k, v = (F.pad(t, (0, 0, 0, pitch - keys)) for t in (k, v))
        key_sum = value_sum = None
        for first in range(0, queries, step):
            rows = slice(first, min(first + step, queries))
            here = rows.stop - first
            maps, grad_maps = buffers[0, :, :here], buffers[1, :, :here]
            q_rows, do_rows = q[:, rows], do[:, rows]
            maps_kernel[(triton.cdiv(here, one.rows), triton.cdiv(pitch, one.keys), heads)](
                q_rows, k, lse[b, :, rows], maps, scale * LOG2_E, here, queries, keys, pitch,
                *q_rows.stride()[:2], *k.stride()[:2], *maps.stride()[:2],
                head_dim=head_dim, padded_dim=triton.next_power_of_2(head_dim),
                row_block=one.rows, key_block=one.keys, **one.launch,
            )  # fmt: skip
            torch.bmm(do_rows, v.mT, out=grad_maps)
            programs_here = min(here, programs)
            couple_kernel[(programs_here,)](
                maps, grad_maps, a, delta, parts, heads, here, keys, *maps.stride()[:2],
                padded_heads=padded_heads, key_block=coupled.keys, precision=precision, **coupled.launch,
            )  # fmt: skip
            rows_kernel[(triton.cdiv(keys, across.keys), triton.cdiv(here, across.rows))](
                maps, grad_maps, a, delta, scale, heads, here, keys, *maps.stride()[:2],
                padded_heads=padded_heads, key_block=across.keys, rows_each=across.rows, precision=precision,
                **across.launch,
            )  # fmt: skip
            if need_mixing:
                mixing_sum += parts[:programs_here, :heads, :heads].sum(0)
            if need_value:
                value_sum = _added(value_sum, torch.bmm(maps.mT, do_rows))
            if need_query:
                torch.bmm(grad_maps, k, out=grad_query[b, :, rows])
            if need_key:
                key_sum = _added(key_sum, torch.bmm(grad_maps.mT, q_rows))
        if key_sum is not None:
            grad_key[b] = key_sum[:, :keys]
        if value_sum is not None:
            grad_value[b] = value_sum[:, :keys]
    if need_mixing:
        grad_mixing.copy_(mixing_sum)


def _added(total: Tensor | None, part: Tensor) -> Tensor:
    """A sum over chunks, float32 as soon as there are two."""
    return part if total is None else total.float() + part


def heads_tiles(padded_heads: int, dtype: torch.dtype) -> tuple[Tile, Tile]:
    """For the kernels that hold a query row of all heads; on an H100 these took least (docs/performance.md)."""
    if dtype == torch.float32:
        wide = Tile(1, 32, warps=8, stages=1) if padded_heads > 16 else Tile(1, 64, warps=4, stages=1)
        return wide, replace(wide, rows=8)
    coupled = Tile(rows=1, keys=128, warps=4, stages=3)
    return coupled, Tile(rows=8, keys=128, warps=8 if padded_heads > 16 else 4, stages=1)
