# SPDX-License-Identifier: Apache-2.0
"""Mixture kernels on a static grid: a program whose block has no token returns at once.

Tokens are laid out by expert, every expert's rows starting at a multiple of BM, so that a block of
rows belongs to one expert; the shared expert's blocks follow. The grid is the most blocks that any
routing needs. Imported only where the triton form is chosen; with TRITON_INTERPRET=1 it runs on a
CPU. Letters: N tokens, K choices per token, E routed experts, D width, F hidden; B* block edges.
"""
# mypy: ignore-errors

import triton
import triton.language as tl


@triton.jit
def plan(
    selected, tokens, places, block_expert, block_rows, choices, count,
    K: tl.constexpr, E: tl.constexpr, CHOICES: tl.constexpr, EXPERTS: tl.constexpr,
    ROUTED_BLOCKS: tl.constexpr, BLOCKS: tl.constexpr, ALL_BLOCKS: tl.constexpr, BM: tl.constexpr,
):  # fmt: skip
    """One program: places of all choices, and the expert and number of rows of each block.

    Args:
        selected: (N * K,) expert numbers. choices: N * K. count: N.
        tokens: out (blocks * BM,) token of each row. places: out (N * K,) row of each choice.
        block_expert, block_rows: out (blocks,) expert, -1: none; rows that hold a token.
    """
    i = tl.arange(0, CHOICES)
    chosen = tl.load(selected + i, mask=i < choices, other=EXPERTS).to(tl.int32)
    e = tl.arange(0, EXPERTS)
    hot = (chosen[:, None] == e[None, :]).to(tl.int32)
    rank = tl.sum(tl.cumsum(hot, 0) * hot, 1) - 1
    counts = tl.sum(hot, 0)
    blocks = (counts + BM - 1) // BM
    ends = tl.cumsum(blocks, 0)
    place = tl.sum(hot * ((ends - blocks) * BM)[None, :], 1) + rank
    tl.store(tokens + place, i // K, mask=i < choices)
    tl.store(places + i, place, mask=i < choices)
    b = tl.arange(0, ALL_BLOCKS)
    inside = ((b[:, None] < ends[None, :]) & (b[:, None] >= (ends - blocks)[None, :])).to(tl.int32)
    expert = tl.where(tl.sum(inside, 1) > 0, tl.sum(inside * e[None, :], 1), -1)
    left = tl.sum(inside * (counts - (b[:, None] - (ends - blocks)[None, :]) * BM), 1)
    of_shared = b >= ROUTED_BLOCKS
    expert = tl.where(of_shared, E, expert)
    left = tl.where(of_shared, count - (b - ROUTED_BLOCKS) * BM, left)
    tl.store(block_expert + b, expert, mask=b < BLOCKS)
    tl.store(block_rows + b, tl.minimum(left, BM), mask=b < BLOCKS)
    j = tl.arange(0, CHOICES)
    tl.store(tokens + ROUTED_BLOCKS * BM + j, j, mask=j < count)


@triton.jit
def gate_up(
    x, gate, up, gate_scale, up_scale, hidden, tokens, block_expert, block_rows,
    D, F, INT8: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    """hidden (rows, F) = gelu(x gate^T) * (x up^T), in float32 accumulators.

    Args:
        x: (N, D). gate, up: (E + 1, F, D). gate_scale, up_scale: (E + 1, F) of 8-bit weights.
    """
    block = tl.program_id(1)
    expert = tl.load(block_expert + block)
    if expert >= 0:
        m = tl.arange(0, BM)
        valid = m < tl.load(block_rows + block)
        rows = block * BM + m
        token = tl.load(tokens + rows, mask=valid, other=0).to(tl.int64)
        n = tl.program_id(0) * BN + tl.arange(0, BN)
        wide = n < F
        base = (expert.to(tl.int64) * F + n) * D
        g = tl.zeros((BM, BN), tl.float32)
        u = tl.zeros((BM, BN), tl.float32)
        for start in range(0, D, BK):
            k = start + tl.arange(0, BK)
            deep = k < D
            mask_x = valid[:, None] & deep[None, :]
            a = tl.load(x + token[:, None] * D + k[None, :], mask=mask_x, other=0.0)
            mask_w = deep[:, None] & wide[None, :]
            wg = tl.load(gate + base[None, :] + k[:, None], mask=mask_w, other=0)
            wu = tl.load(up + base[None, :] + k[:, None], mask=mask_w, other=0)
            g = tl.dot(a, wg.to(a.dtype), g, input_precision="ieee")
            u = tl.dot(a, wu.to(a.dtype), u, input_precision="ieee")
        if INT8:
            g *= tl.load(gate_scale + expert * F + n, mask=wide, other=0.0)[None, :]
            u *= tl.load(up_scale + expert * F + n, mask=wide, other=0.0)[None, :]
        inner = 0.7978845608028654 * (g + 0.044715 * g * g * g)
        h = g / (1.0 + tl.exp(-2.0 * inner)) * u  # 0.5 (1 + tanh z) = 1 / (1 + e^-2z)
        place = rows.to(tl.int64)[:, None] * F + n[None, :]
        mask_h = valid[:, None] & wide[None, :]
        tl.store(hidden + place, h.to(hidden.dtype.element_ty), mask=mask_h)


@triton.jit
def down(
    hidden, weight, scale, out, block_expert, block_rows,
    D, F, INT8: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    """out (rows, D) float32 = hidden weight^T; weight (E + 1, D, F), scale (E + 1, D)."""
    block = tl.program_id(1)
    expert = tl.load(block_expert + block)
    if expert >= 0:
        m = tl.arange(0, BM)
        valid = m < tl.load(block_rows + block)
        rows = (block * BM + m).to(tl.int64)
        n = tl.program_id(0) * BN + tl.arange(0, BN)
        wide = n < D
        base = (expert.to(tl.int64) * D + n) * F
        acc = tl.zeros((BM, BN), tl.float32)
        for start in range(0, F, BK):
            k = start + tl.arange(0, BK)
            deep = k < F
            mask_h = valid[:, None] & deep[None, :]
            h = tl.load(hidden + rows[:, None] * F + k[None, :], mask=mask_h, other=0.0)
            mask_w = deep[:, None] & wide[None, :]
            w = tl.load(weight + base[None, :] + k[:, None], mask=mask_w, other=0)
            acc = tl.dot(h, w.to(h.dtype), acc, input_precision="ieee")
        if INT8:
            acc *= tl.load(scale + expert * D + n, mask=wide, other=0.0)[None, :]
        tl.store(out + rows[:, None] * D + n[None, :], acc, mask=valid[:, None] & wide[None, :])


@triton.jit
def combine(
    out, residual, scales, places, y, share, D, shared_row,
    K: tl.constexpr, BD: tl.constexpr,
):  # fmt: skip
    """y (N, D) = residual + share * shared + (1 - share) * sum of the chosen, weighted.

    Args: scales: (N, K) float32. shared_row: row of the shared expert's first token.
    """
    token = tl.program_id(0).to(tl.int64)
    d = tl.program_id(1) * BD + tl.arange(0, BD)
    inside = d < D
    acc = share * tl.load(out + (shared_row + token) * D + d, mask=inside, other=0.0)
    for k in range(K):
        place = tl.load(places + token * K + k).to(tl.int64)
        weight = tl.load(scales + token * K + k).to(tl.float32) * (1.0 - share)
        acc += weight * tl.load(out + place * D + d, mask=inside, other=0.0)
    acc += tl.load(residual + token * D + d, mask=inside, other=0.0).to(tl.float32)
    tl.store(y + token * D + d, acc.to(y.dtype.element_ty), mask=inside)
