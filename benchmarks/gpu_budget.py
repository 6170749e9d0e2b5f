#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes doc/gpu_budget.md: what one inference needs on paper, kernel by kernel, beside peers' figures.

    python benchmarks/gpu_budget.py            # write
    python benchmarks/gpu_budget.py --check    # compare; exit 1 on a difference

A kernel takes at least the larger of its bytes over the memory's rate, its operations over the
matrix units' rate, and a launch inside a replayed graph. Weights are read once per launch;
activations that fit into the L2 are not counted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from common import ROOT
from roofline import Ceilings, Cost, costs

from adamoe_ros.model.config import ModelConfig, adamoe_pi0, pi0
from adamoe_ros.policy.engines.shapes import Shape

PAGE = ROOT / "doc" / "gpu_budget.md"
LAUNCH = 2.5e-6  # s between two small kernels of a replayed graph; 2 to 3 us were seen on such GPUs
HALF = torch.bfloat16
# data sheets: bytes/s, dense bfloat16 operations/s with float32 accumulators
CHIPS = {
    "H200": Ceilings(4.8e12, 989e12),
    "RTX 4090": Ceilings(1.008e12, 165.2e12),
    "Jetson Thor": Ceilings(0.273e12, 258.8e12),  # 2070 TFLOP/s sparse FP4 / 8
}
A10 = Ceilings(0.6e12, 125e12)


@dataclass(frozen=True)
class Kernel:
    """One kind of launch.

    Attributes:
        stage, name: on the page.
        count: launches in an inference.
        each: least work of one launch.
    """

    stage: str
    name: str
    count: int
    each: Cost

    def seconds(self, chip: Ceilings, launch: float = 0.0) -> float:
        """Of all launches."""
        return self.count * max(self.each.floor(chip), launch)


def product(rows: int, inner: int, outer: int, size: int = 2) -> Cost:
    """(rows, inner) times weights (inner, outer)."""
    return Cost(2.0 * rows * inner * outer, float(inner * outer * size))


def kernels(config: ModelConfig, shape: Shape, form: str = "wide") -> Iterator[Kernel]:
    """Every launch of one inference, as the captured engine with compiled layers is expected to make.

    Args:
        form: of the mixture layer, ``wide`` or ``triton``.
    """
    yield from _vision(config, shape)
    yield from _prefix(config, shape)
    yield from _flow(config, shape, form)


SMALL = Cost(0.0, 0.0)  # element-wise: its data are in the L2


def _vision(config: ModelConfig, shape: Shape) -> Iterator[Kernel]:
    """Not compiled: norms, biases and GELU are kernels of their own."""
    vision, pictures = config.vision, shape.batch * shape.views
    rows, stage = pictures * vision.tokens, "vision"
    yield Kernel(stage, "upload, resize, unfold", 1 + 10 * pictures, SMALL)
    patches = product(rows, 3 * vision.patch**2, vision.width)
    yield Kernel(stage, "patches, head", 2, patches)
    yield Kernel(stage, "q, k, v", vision.depth, product(rows, vision.width, 3 * vision.width))
    flops = 4.0 * rows * vision.tokens * vision.width
    yield Kernel(stage, "attention", vision.depth, Cost(flops, 0.0))
    yield Kernel(stage, "o", vision.depth, product(rows, vision.width, vision.width))
    yield Kernel(stage, "fc1", vision.depth, product(rows, vision.width, vision.mlp))
    yield Kernel(stage, "fc2", vision.depth, product(rows, vision.mlp, vision.width))
    yield Kernel(stage, "norms, GELU, sums, copies", 6 * vision.depth, SMALL)


def _attention(
    stage: str, count: int, config: ModelConfig, width: int, rows: int, keys: int
) -> Iterator[Kernel]:
    sizes = config.prefix
    inner, shared = sizes.heads * sizes.head_dim, sizes.kv_heads * sizes.head_dim
    yield Kernel(stage, "q, k, v", count, product(rows, width, inner + 2 * shared))
    cache = Cost(4.0 * rows * keys * inner, 4.0 * keys * shared)
    yield Kernel(stage, "attention", count, cache)
    yield Kernel(stage, "o", count, product(rows, inner, width))


def _prefix(config: ModelConfig, shape: Shape) -> Iterator[Kernel]:
    sizes, stage, rows = config.prefix, "prefix", shape.batch * shape.prefix_tokens(config)
    layers = sizes.depth - 1
    yield from _attention(stage, layers, config, sizes.width, rows, shape.prefix_tokens(config))
    yield Kernel(stage, "gate, up", layers, product(rows, sizes.width, 2 * sizes.mlp))
    yield Kernel(stage, "down", layers, product(rows, sizes.mlp, sizes.width))
    last = product(rows, sizes.width, 2 * sizes.kv_heads * sizes.head_dim)
    yield Kernel(stage, "last layer's k, v", 1, last)
    yield Kernel(stage, "norms, rotation, GELU", 4 * layers + 12, SMALL)


def _flow(config: ModelConfig, shape: Shape, form: str) -> Iterator[Kernel]:
    expert, moe, stage = config.expert, config.moe, "flow"
    rows, steps = shape.batch * config.action_tokens, config.flow_steps
    layers = config.prefix.depth
    count, keys = steps * layers, shape.prefix_tokens(config) + 1 + config.action_tokens
    state = layers * 9  # the state token, once
    yield Kernel(stage, "state token", state, SMALL)
    yield from _attention(stage, count, config, expert.width, rows, keys)
    yield Kernel(stage, "norms, rotation, keys and values", 4 * count, SMALL)
    held, active = 1 + moe.num_experts, 1 + moe.top_k
    if moe.variant != "dense":
        yield Kernel(stage, "router product, top-1", 2 * count, SMALL)
    computed = active if form == "triton" else held
    for name, inner, outer in (
        ("gate, up", expert.width, 2 * expert.mlp),
        ("down", expert.mlp, expert.width),
    ):
        one = product(rows, inner, outer)
        work = Cost(one.flops * computed, one.bytes * held)
        yield Kernel(stage, name, count, work)
    others = {"wide": 1, "triton": 2}[form]  # GELU with the weights of the experts; plan, combine
    yield Kernel(stage, "around the experts", others * count, SMALL)
    yield Kernel(stage, "actions in and out, Euler step", 9 * steps, SMALL)


def whole(config: ModelConfig, shape: Shape, chip: Ceilings, int8: bool = False) -> float:
    """ms of an inference at the ceilings."""
    found = costs(config, shape, HALF, int8, config.flow_steps)
    parts = found["vision"].floor(chip) + found["prefix"].floor(chip)
    return 1e3 * (parts + config.flow_steps * found["step"].floor(chip))


def with_launches(config: ModelConfig, shape: Shape, chip: Ceilings, form: str) -> float:
    """ms of an inference, kernel by kernel, none shorter than a launch."""
    return 1e3 * sum(kernel.seconds(chip, LAUNCH) for kernel in kernels(config, shape, form))


def _row(*cells: object) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _head(*cells: str) -> list[str]:
    return [_row(*cells), "|" + "---|" * len(cells)]


def _shape(config: ModelConfig, views: int) -> Shape:
    return Shape(1, views, config.prompt_length)


def floors_table() -> list[str]:
    """Policies by chip, 1, 2 and 3 views."""
    lines = _head(
        "ms at the ceilings (kernel by kernel, none under 2.5 us), 1 / 2 / 3 views", *CHIPS
    )
    # the modulation of its norms depends on the step alone and is computed beforehand
    long = pi0().changed({"prompt_length": 200})
    for name, config, form in (
        ("dense pi0", pi0(), "wide"),
        ("pi0.5: prompt of 200 tokens", long, "wide"),
        ("AdaMoE, 4 experts, top-1, wide", adamoe_pi0(), "wide"),
        ("AdaMoE, triton", adamoe_pi0(), "triton"),
    ):
        cells = []
        for chip in CHIPS.values():
            shapes = [_shape(config, views) for views in (1, 2, 3)]
            low = " / ".join(f"{whole(config, shape, chip):.1f}" for shape in shapes)
            high = " / ".join(f"{with_launches(config, shape, chip, form):.1f}" for shape in shapes)
            cells.append(f"{low} ({high})")
        lines.append(_row(name, *cells))
    shape = _shape(adamoe_pi0(), 3)
    cells = [f"{whole(adamoe_pi0(), shape, chip, int8=True):.1f}" for chip in CHIPS.values()]
    return [*lines, _row("AdaMoE, 8-bit feed-forward layers, 3 views", *cells)]


def kernel_table() -> list[str]:
    """AdaMoE's kernels at 3 views."""
    config = adamoe_pi0()
    lines = _head("stage", "kernel", "launches", "GFLOP", "MB", *(f"{chip}, ms" for chip in CHIPS))
    for kernel in kernels(config, _shape(config, 3)):
        times = [f"{1e3 * kernel.seconds(chip, LAUNCH):.2f}" for chip in CHIPS.values()]
        all_of = kernel.each.times(kernel.count)
        work = (f"{all_of.flops / 1e9:.0f}", f"{all_of.bytes / 1e6:.0f}")
        lines.append(_row(kernel.stage, kernel.name, kernel.count, *work, *times))
    found = list(kernels(config, _shape(config, 3)))
    totals = [
        f"{with_launches(config, _shape(config, 3), chip, 'wide'):.1f}" for chip in CHIPS.values()
    ]
    flops, size = (sum(getattr(k.each, of) * k.count for k in found) for of in ("flops", "bytes"))
    count = sum(kernel.count for kernel in found)
    return [*lines, _row("", "**sum**", count, f"{flops / 1e9:.0f}", f"{size / 1e6:.0f}", *totals)]


def peers_table() -> list[str]:
    """Published figures, with the floor of the same work where it can be told."""
    d63, d50 = pi0().changed({"horizon": 63}), pi0()
    five = pi0().changed({"prompt_length": 200})
    card = CHIPS["RTX 4090"]
    rows = [
        ("Dexmal realtime-vla, pi0, chunk 63, no prompt", "RTX 4090", "20.0 / 27.3 / 36.8",
         [whole(d63, Shape(1, views, 0), card) for views in (1, 2, 3)]),
        ("the same, chunk 50, 20 tokens", "RTX 4090", "23.6 / 32.9 / 39.2",
         [whole(d50, Shape(1, views, 20), card) for views in (1, 2, 3)]),
        ("Dexmal realtime-vla, pi0.5 (floor: chunk 63, no prompt)", "RTX 4090", "22.1 / 29.2 / 38.9",
         [whole(d63, Shape(1, views, 0), card) for views in (1, 2, 3)]),
        ("RoboRT, pi0.5, with its caches and async", "A10", "18.7",
         [whole(five, Shape(1, 2, 200), A10)]),
        ("FlashRT, pi0, FP8", "Jetson Thor", "37.6 / 45.8 / 56.7",
         [whole(d50, Shape(1, views, 48), CHIPS["Jetson Thor"]) for views in (1, 2, 3)]),
        ("FlashRT, pi0, FP8", "RTX 5090", "18.4 / 21.2 / 24.5", []),
        ("FlashRT, pi0.5, FP8", "RTX 5090", "14.5 / 17.6 / 20.0", []),
        ("LeRobot's pi0, not compiled (lerobot#2174)", "RTX 4090", "about 150", []),
        ("openpi's pi0, JAX", "RTX 4090", "73 to 86", []),
        ("SGLang, pi0.5, ALOHA, graphs, end to end (sglang#34256)", "H200", "43.1",
         [whole(five, Shape(1, 3, 200), CHIPS["H200"])]),
        ("the same, its prefix alone", "H200", "12.0", []),
    ]  # fmt: skip
    lines = _head("published", "on", "ms, 1 / 2 / 3 views", "bfloat16 at the ceilings, ms (share)")
    for name, where, told, floors in rows:
        numbers = [float(x) for x in told.split(" / ")] if floors else []
        shares = " / ".join(
            f"{low:.1f} ({low / ms:.0%})" for low, ms in zip(floors, numbers, strict=True)
        )
        lines.append(_row(name, where, told, shares or "-"))
    return lines


def ceilings_table() -> list[str]:
    """The chips."""
    lines = _head("", "memory, GB/s", "dense bfloat16, TFLOP/s", "operations a byte")
    for name, chip in CHIPS.items():
        ridge = f"{chip.flops / chip.bytes_per_s:.0f}"
        lines.append(_row(name, f"{chip.bytes_per_s / 1e9:.0f}", f"{chip.flops / 1e12:.0f}", ridge))
    return lines


TEXT = """# What one inference needs of a GPU, on paper

Nothing on this page was run: **no figure of this package on a GPU exists yet** (`tools/gpu_check.sh` makes
them). It is written by `benchmarks/gpu_budget.py` from the network's sizes and the chips' data sheets, so
that a measured figure can be judged at once. One observation, bfloat16, 10 flow steps, chunk 50, prompt 48.

## Ceilings, as published

{ceilings}

A large copy reaches about 90 % of the first column and a large product about 80 % of the second (on an H200:
4.3 TB/s, 790 TFLOP/s); `gpu_check` measures both first and gives every time as a share of them.

## Floors

{floors}

The first figure is the sum over stages of the larger of bytes and operations; the one in brackets adds
that no kernel of a replayed graph takes less than a launch. Between the two, kernels can be fused.

## AdaMoE, 3 views, form wide, kernel by kernel

{kernels}

The products of the flow steps read all experts in every step (24 GB of the sum): top-1 saves operations,
not bytes, so `wide` and `triton` have one floor and differ in launches and in how near they come to it.

## Beside others

{peers}

Dexmal's share, about three quarters, is the bar for any card. RoboRT's figure is below the floor of a whole
inference with two views on its card: its caches leave work out, so it is no measure for one that starts from
new pictures. FP8 halves the bytes and doubles the rate of products; its floor is about half of that given.
SGLang's, with a whole server around it, is the only figure of this family on an H200 that we know.

## How to judge a run

| AdaMoE, 3 views, H200 | what it says |
|---|---|
| 14 ms or less (dense: 9.5) | near the limit: three quarters of the measured ceilings |
| 14 to 18 ms (dense: 9.5 to 14) | graph and compiler work; one of the suspects below costs the rest |
| 18 to 30 ms | read `stages`: prefix above 6 ms or a flow step above 1.2 ms names the part |
| above 30 ms | something is not in the graph, or not compiled: count the kernels (about {launches} are right) |

Suspects, in the order of what they may cost on an H200, each with what it would be:

1. *Attention of the flow step*: 400 query rows on one key head are 7 blocks for 132 multiprocessors. More
   than 15 us a call are 3 ms an inference; keys must then be split over blocks.
2. *down of form triton*: 16 x 10 programs for 132 multiprocessors, each with 64 loads in a row, two in
   flight. More than 20 us a layer (floor 9): split the hidden values, or narrower blocks.
3. *The shared expert of form triton*: its 50 rows are four blocks of 16, so its weights pass from the L2
   four times. One block of 64 rows reads them once.
4. *down of form wide*: 50 x 20480 -> 1024 needs split-K; cuBLAS chooses it or takes three times as long.
5. *The picture encoder* is not compiled: about 11 kernels a layer, near 1 ms of launches and element-wise work.

## How to run it

    tools/gpu_wheels.sh                     # where there is a network: what a bare machine lacks, 3 MB
    ADAMOE_COMMIT=... tools/gpu_check.sh out/gpu   # there; 9 minutes at most, results written as they come
    python benchmarks/choose_mixture.py out/gpu/gpu_check.json   # the fastest form becomes the default
    python benchmarks/readme_table.py

`page.txt` is for a person, `log.txt` holds the output of every step. `tools/gpu_check.sh out/x --rehearse`
does the same steps on a CPU (part of `make test`); `make gpu-rehearsal` does so with torch 2.11, triton 3.6
and transformers 5.17, traces what the graphs would hold and compiles the kernels ahead.
"""


def text() -> str:
    """The page."""
    launches = sum(kernel.count for kernel in kernels(adamoe_pi0(), _shape(adamoe_pi0(), 3)))
    parts = {
        "ceilings": ceilings_table(), "floors": floors_table(), "kernels": kernel_table(),
        "peers": peers_table(),
    }  # fmt: skip
    joined = {name: "\n".join(lines) for name, lines in parts.items()}
    return TEXT.format(**joined, launches=f"{round(launches, -2):,}".replace(",", " "))


def main() -> int:
    """Write or compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare only")
    options = parser.parse_args()
    if options.check:
        same = PAGE.read_text(encoding="utf-8") == text()
        print("" if same else f"{PAGE.name}: not what this script writes; run it", end="")
        return int(not same)
    PAGE.write_text(text(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
