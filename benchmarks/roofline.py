# SPDX-License-Identifier: Apache-2.0
"""What a device can do, measured, and what an inference needs at least, counted.

The floor of a stage is the larger of its arithmetic at the device's matrix ceiling and its bytes at
the device's copy ceiling. Weights are counted once per stage and step: one layer's experts are larger
than any cache. A ceiling is the best rate that was seen, be it in the copy, in the product or in a
stage (a small network's weights stay in a cache, which is faster than the copy): no floor lies above
what was reached.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from adamoe_ros.evaluation.bench.timing import Clock, interleaved
from adamoe_ros.model.config import ModelConfig
from adamoe_ros.policy.engines.shapes import Shape


@dataclass(frozen=True)
class Cost:
    """Least work of one stage: multiplications and additions, bytes read and written."""

    flops: float
    bytes: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.flops + other.flops, self.bytes + other.bytes)

    def times(self, count: int) -> Cost:
        """Of so many in a row."""
        return Cost(count * self.flops, count * self.bytes)

    def floor(self, ceilings: Ceilings) -> float:
        """s."""
        return max(self.flops / ceilings.flops, self.bytes / ceilings.bytes_per_s)


@dataclass(frozen=True)
class Ceilings:
    """Of one device, by the clock that the stages are measured with.

    Attributes:
        bytes_per_s: read and written, at first by a copy larger than any cache.
        flops: multiplications and additions per s, at first by a large product in the engine's type.
    """

    bytes_per_s: float
    flops: float

    def raised(self, cost: Cost, seconds: float) -> Ceilings:
        """With what some work has reached in so many s."""
        return Ceilings(
            max(self.bytes_per_s, cost.bytes / seconds), max(self.flops, cost.flops / seconds)
        )


def ceilings(device: torch.device, dtype: torch.dtype, clock: Clock, rounds: int = 7) -> Ceilings:
    """Measure, best of several rounds, copy and product taking turns."""
    cuda = device.type == "cuda"
    size, edge = (1 << 30, 8192) if cuda else (1 << 27, 1536)
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    a = torch.randn(edge, edge, device=device).to(dtype)
    b = torch.randn(edge, edge, device=device).to(dtype)
    out = torch.empty_like(a)
    works = {"copy": lambda: target.copy_(source), "product": lambda: torch.mm(a, b, out=out)}
    with torch.inference_mode():
        times = interleaved(works, rounds, device, warm_ups=2, clock=clock)
    return Ceilings(2 * size / min(times["copy"]), 2 * edge**3 / min(times["product"]))


def roofline(
    needed: Mapping[str, Cost], limits: Ceilings, stages: Mapping[str, Any]
) -> dict[str, Any]:
    """Ceilings, costs, floors and the fraction of them that each candidate reaches.

    Args:
        needed: of ``costs``. stages: stage -> candidate -> times in ms, as ``Bench.run`` has them.
    """
    for stage, rows in stages.items():
        for row in rows.values():
            if stage in needed:
                limits = limits.raised(needed[stage], row["min_ms"] / 1e3)
    floors = {stage: cost.floor(limits) * 1e3 for stage, cost in needed.items()}
    return {
        "copy_bytes_per_s": limits.bytes_per_s,
        "product_flops": limits.flops,
        "flops": {stage: cost.flops for stage, cost in needed.items()},
        "bytes": {stage: cost.bytes for stage, cost in needed.items()},
        "floor_ms": floors,
        "fraction": {
            stage: {name: floors[stage] / row["median_ms"] for name, row in rows.items()}
            for stage, rows in stages.items()
            if stage in floors
        },
    }


def costs(
    config: ModelConfig, shape: Shape, dtype: torch.dtype, int8: bool, steps: int = 0
) -> dict[str, Cost]:
    """Stage -> least work; ``prefix`` is ``encode`` without vision; ``whole`` for ``steps`` > 0."""
    found = {
        "vision": _vision(config, shape, dtype.itemsize),
        "prefix": _prefix(config, shape, dtype.itemsize),
        "step": _step(config, shape, dtype.itemsize, int8),
    }
    found["encode"] = found["vision"] + found["prefix"]
    if steps:
        found["whole"] = found["encode"] + found["step"].times(steps)
    return found


def _vision(config: ModelConfig, shape: Shape, size: int) -> Cost:
    vision = config.vision
    tokens = shape.batch * shape.views * vision.tokens
    layer = 4 * vision.width**2 + 2 * vision.width * vision.mlp
    weights = vision.depth * layer + vision.width * config.prefix.width
    if vision.stem == "patch":
        weights += 3 * vision.patch**2 * vision.width
    attention = 4 * vision.depth * tokens * vision.tokens * vision.width
    return Cost(2 * tokens * weights + attention, weights * size)


def _attention_weights(width: int, config: ModelConfig) -> tuple[int, int]:
    """Of queries and output, and of keys and values."""
    sizes = config.prefix
    return 2 * width * sizes.heads * sizes.head_dim, 2 * width * sizes.kv_heads * sizes.head_dim


def _prefix(config: ModelConfig, shape: Shape, size: int) -> Cost:
    sizes, length = config.prefix, shape.prefix_tokens(config)
    tokens = shape.batch * length
    outer, inner = _attention_weights(sizes.width, config)
    layers = sizes.depth - 1  # of the last one, only keys and values
    weights = layers * (outer + inner + 3 * sizes.width * sizes.mlp) + inner
    attention = 4 * layers * tokens * length * sizes.heads * sizes.head_dim
    return Cost(2 * tokens * weights + attention, weights * size)


def _step(config: ModelConfig, shape: Shape, size: int, int8: bool) -> Cost:
    sizes, expert, moe = config.prefix, config.expert, config.moe
    tokens = shape.batch * config.action_tokens
    keys = shape.prefix_tokens(config) + config.state_tokens + config.action_tokens
    outer, inner = _attention_weights(expert.width, config)
    feed_forward = 3 * expert.width * expert.mlp
    held = 1 + moe.num_experts if moe.variant != "dense" else 1
    active = 1 + moe.top_k if moe.variant != "dense" else 1
    attention = 4 * sizes.depth * tokens * keys * sizes.heads * sizes.head_dim
    flops = 2 * tokens * sizes.depth * (outer + inner + active * feed_forward) + attention
    cache = 2 * sizes.depth * shape.batch * keys * sizes.kv_heads * sizes.head_dim * size
    weights = (outer + inner) * size + held * feed_forward * (1 if int8 else size)
    return Cost(flops, sizes.depth * weights + cache)
