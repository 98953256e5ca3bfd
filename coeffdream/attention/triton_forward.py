"""Mixed attention's forward in Triton: no map leaves the chip.

One program makes the rows of a group of G output heads. It goes over the maps of all heads, each computed
again from the log-sum-exp of a first pass, and adds each, weighed by mixing in float32, to G mixed maps;
then those meet their values. The recomputation factor of Q K^T is H / G, so G is as large as the registers
allow. With at most 128 keys a whole row of maps fits, and one pass does both.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from coeffdream.attention.triton_common import (
    LOG2_E,
    Tile,
    interpreted,
    load_rows,
    one_head_tile,
    rows_last,
    store_rows,
)

SMALL_KEYS = 128


@triton.jit
def lse_kernel(
    query, key, lse, scale_log2, heads, queries, keys,
    query_b, query_h, query_n, key_b, key_h, key_m,
    head_dim: tl.constexpr, padded_dim: tl.constexpr, row_block: tl.constexpr, key_block: tl.constexpr,
):  # fmt: skip
    """lse [B,H,N] = log2 sum exp2(scale_log2 q k^T), one head and row_block queries a program."""
    rows = tl.program_id(0) * row_block + tl.arange(0, row_block)
    head, batch = tl.program_id(1), tl.program_id(2).to(tl.int64)
    q = load_rows(query + batch * query_b + head * query_h, rows, query_n, queries, head_dim, padded_dim)
    k_base = key + batch * key_b + head * key_h
    top = tl.full([row_block], float("-inf"), tl.float32)
    total = tl.zeros([row_block], tl.float32)
    for first in range(0, keys, key_block):
        columns = first + tl.arange(0, key_block)
        k = load_rows(k_base, columns, key_m, keys, head_dim, padded_dim)
        logits = tl.dot(q, tl.trans(k), input_precision="ieee") * scale_log2
        logits = tl.where(columns[None, :] < keys, logits, float("-inf"))
        new_top = tl.maximum(top, tl.max(logits, 1))
        total = total * tl.exp2(top - new_top) + tl.sum(tl.exp2(logits - new_top[:, None]), 1)
        top = new_top
    tl.store(lse + (batch * heads + head) * queries + rows, top + tl.log2(total), mask=rows < queries)


@triton.jit
def mix_kernel(
    query, key, value, mixing, lse, out, scale_log2, heads, queries, keys, splits, keys_per_split,
    query_b, query_h, query_n, key_b, key_h, key_m, value_b, value_h, value_m, out_s, out_b, out_h, out_n,
    group: tl.constexpr,
    head_dim: tl.constexpr, padded_dim: tl.constexpr, row_block: tl.constexpr, key_block: tl.constexpr,
):  # fmt: skip
    """out [splits,B,H,N,d], each split the part of its own keys."""
    rows = tl.program_id(0) * row_block + tl.arange(0, row_block)
    first_head = tl.program_id(1) * group
    batch, split = (tl.program_id(2) // splits).to(tl.int64), (tl.program_id(2) % splits).to(tl.int64)
    query += batch * query_b
    key += batch * key_b
    value += batch * value_b
    lse += batch * heads * queries
    out += split * out_s + batch * out_b
    sums = zeros(group, row_block, padded_dim)
    start = split.to(tl.int32) * keys_per_split
    for first in range(start, tl.minimum(start + keys_per_split, keys), key_block):
        columns = first + tl.arange(0, key_block)
        mixed = zeros(group, row_block, key_block)
        for i in range(heads):
            q = load_rows(query + i * query_h, rows, query_n, queries, head_dim, padded_dim)
            k = load_rows(key + i * key_h, columns, key_m, keys, head_dim, padded_dim)
            row_lse = tl.load(lse + i * queries + rows, mask=rows < queries, other=0.0)
            logits = tl.dot(q, tl.trans(k), input_precision="ieee") * scale_log2 - row_lse[:, None]
            maps = tl.exp2(tl.where(columns[None, :] < keys, logits, float("-inf")))
            mixed = added(mixed, maps, mixing, first_head, i, heads, group)
        met = ()
        for g in tl.static_range(group):
            place = at_head(value, first_head + g, value_h, heads)
            v = load_rows(place, columns, value_m, keys, head_dim, padded_dim)
            met += (tl.dot(mixed[g].to(v.dtype), v, sums[g], input_precision="ieee"),)
        sums = met
    for g in tl.static_range(group):
        if first_head + g < heads:
            place = out + (first_head + g) * out_h
            tile = sums[g].to(out.dtype.element_ty)
            store_rows(place, rows, out_n, queries, tile, head_dim, padded_dim)


@triton.jit
def small_kernel(
    query, key, value, mixing, lse, out, scale_log2, heads, queries, keys,
    query_b, query_h, query_n, key_b, key_h, key_m, value_b, value_h, value_m, out_s, out_b, out_h, out_n,
    group: tl.constexpr,
    head_dim: tl.constexpr, padded_dim: tl.constexpr, row_block: tl.constexpr, key_block: tl.constexpr,
):  # fmt: skip
    """lse and out at once, for keys <= key_block: cross-attention."""
    rows = tl.program_id(0) * row_block + tl.arange(0, row_block)
    first_head = tl.program_id(1) * group
    batch = tl.program_id(2).to(tl.int64)
    query += batch * query_b
    key += batch * key_b
    value += batch * value_b
    lse += batch * heads * queries
    out += batch * out_b
    columns = tl.arange(0, key_block)
    mixed = zeros(group, row_block, key_block)
    for i in range(heads):
        q = load_rows(query + i * query_h, rows, query_n, queries, head_dim, padded_dim)
        k = load_rows(key + i * key_h, columns, key_m, keys, head_dim, padded_dim)
        logits = tl.dot(q, tl.trans(k), input_precision="ieee") * scale_log2
        logits = tl.where(columns[None, :] < keys, logits, float("-inf"))
        top = tl.max(logits, 1)
        maps = tl.exp2(logits - top[:, None])
        total = tl.sum(maps, 1)
        if first_head == 0:
            tl.store(lse + i * queries + rows, top + tl.log2(total), mask=rows < queries)
        maps = maps / total[:, None]
        mixed = added(mixed, maps, mixing, first_head, i, heads, group)
    for g in tl.static_range(group):
        if first_head + g < heads:
            place = out + (first_head + g) * out_h
            v = load_rows(value + (first_head + g) * value_h, columns, value_m, keys, head_dim, padded_dim)
            tile = tl.dot(mixed[g].to(v.dtype), v, input_precision="ieee").to(out.dtype.element_ty)
            store_rows(place, rows, out_n, queries, tile, head_dim, padded_dim)


@triton.jit
def zeros(group: tl.constexpr, rows: tl.constexpr, columns: tl.constexpr):
    """A tuple, for every version of Triton that torch comes with unrolls those alike."""
    made = ()
    for _ in tl.static_range(group):
        made += (tl.zeros([rows, columns], tl.float32),)
    return made


@triton.jit
def added(mixed, maps, mixing, first_head, i, heads, group: tl.constexpr):
    """The group's mixed maps and what head i's maps give to each."""
    made = ()
    for g in tl.static_range(group):
        made += (mixed[g] + weight(mixing, first_head + g, i, heads) * maps,)
    return made


@triton.jit
def weight(mixing, row, column, heads):
    """mixing[row, column]; 0 in the last group's rows that are no head."""
    return tl.load(mixing + row * heads + column, mask=row < heads, other=0.0)


@triton.jit
def at_head(pointer, head, stride, heads):
    """Where a head starts; the last one for the last group's rows that are no head."""
    return pointer + tl.minimum(head, heads - 1) * stride


def forward(
    query: Tensor, key: Tensor, value: Tensor, mixing: Tensor, attn_mask: None, scale: float | None
) -> tuple[Tensor, Tensor]:
    """The output, and the log-sum-exp [B,H,N] of every row of every map: base 2, float32."""
    out = torch.empty_like(query)
    query, key, value = rows_last(query), rows_last(key), rows_last(value)
    mixing = mixing.float().contiguous()
    batch, heads, queries, head_dim = query.shape
    keys = key.shape[2]
    scale_log2 = (head_dim**-0.5 if scale is None else scale) * LOG2_E
    lse = torch.empty(batch, heads, queries, dtype=torch.float32, device=query.device)
    small = keys <= SMALL_KEYS and query.dtype != torch.float32
    tile = (
        small_tile(capability(query), head_dim, queries, keys)
        if small
        else mix_tile(capability(query), query.dtype, head_dim)
    )
    group = triton.cdiv(heads, triton.cdiv(heads, tile.group))
    row_blocks, groups = triton.cdiv(queries, tile.rows), triton.cdiv(heads, group)
    programs = row_blocks * groups * batch
    splits, keys_per_split = (1, keys) if small else split_keys(programs, keys, tile, query)
    if splits == 1 and out.stride(-1) == 1:
        result, split_stride = out, 0
    else:
        result = torch.empty(splits, *out.shape, dtype=torch.float32, device=out.device)
        split_stride = result.stride(0)
    dims = {"head_dim": head_dim, "padded_dim": triton.next_power_of_2(head_dim)}
    blocks = {"row_block": tile.rows, "key_block": tile.keys}
    read = (*query.stride()[:3], *key.stride()[:3])
    write = (*value.stride()[:3], split_stride, *result.stride()[-4:-1])
    if small:
        small_kernel[(row_blocks, groups, batch)](
            query, key, value, mixing, lse, result, scale_log2, heads, queries, keys,
            *read, *write, group=group, **dims, **blocks, **tile.launch,
        )  # fmt: skip
    else:
        one = one_head_tile(query.dtype)
        lse_kernel[(triton.cdiv(queries, one.rows), heads, batch)](
            query, key, lse, scale_log2, heads, queries, keys,
            *read, **dims, row_block=one.rows, key_block=one.keys, **one.launch,
        )  # fmt: skip
        mix_kernel[(row_blocks, groups, batch * splits)](
            query, key, value, mixing, lse, result, scale_log2, heads, queries, keys, splits, keys_per_split,
            *read, *write, group=group, **dims, **blocks, **tile.launch,
        )  # fmt: skip
    if result is not out:
        out.copy_(result.sum(0))
    return out, lse


def mix_tile(capability: tuple[int, int], dtype: torch.dtype, head_dim: int) -> Tile:
    """The largest group of output heads that fits the registers."""
    if dtype == torch.float32:
        return Tile(rows=32, keys=32, group=2, warps=8, stages=1)
    if head_dim > 64:
        return Tile(rows=64, keys=32, group=3, warps=8, stages=3)
    if capability[0] == 9:
        return Tile(rows=64, keys=64, group=5, warps=8, stages=3)
    return Tile(rows=32, keys=32, group=5, warps=4, stages=1)


def small_tile(capability: tuple[int, int], head_dim: int, queries: int, keys: int) -> Tile:
    columns = max(16, triton.next_power_of_2(keys))
    if queries < 4096:  # smaller ones, so that they fill the card
        return Tile(rows=16, keys=columns, group=5, warps=4, stages=3)
    rows = 64 if capability[0] == 9 and head_dim <= 64 else 32
    return Tile(rows, keys=columns, group=5, warps=8, stages=3)


def split_keys(programs: int, keys: int, tile: Tile, query: Tensor) -> tuple[int, int]:
    """How many parts of the keys, and keys in each, so that a batch of one fills the card."""
    blocks = triton.cdiv(keys, tile.keys)
    wanted = max(1, min(blocks, 2 * processors(query) // programs))
    per_split = triton.cdiv(blocks, wanted)
    return triton.cdiv(blocks, per_split), per_split * tile.keys


def processors(query: Tensor) -> int:
    return 1 if interpreted() else torch.cuda.get_device_properties(query.device).multi_processor_count


def capability(query: Tensor) -> tuple[int, int]:
    return (9, 0) if interpreted() else torch.cuda.get_device_capability(query.device)
