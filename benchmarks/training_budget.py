#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What training of the full size needs of 8 x H200, on paper: memory of a GPU, bounds of a step.

    python benchmarks/training_budget.py            # write the JSON and the table of doc/scale.md
    python benchmarks/training_budget.py --check    # compare; exit 1 on a difference

Parameters are counted in the network that ``adamoe train`` would make (no memory behind them), with its
own LoRA and freezing. Weights, gradients, moments and the average are float32 and cut over all GPUs;
of two layers at a time, and of what is in no layer, each GPU has the whole; autocast keeps a bfloat16
copy of every trained weight until the forward pass ends. With gradient checkpointing a layer keeps
its input; what one layer makes inside is estimated (``INSIDE``).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from common import RESULTS, ROOT, with_block, write
from gpu_budget import CHIPS
from roofline import costs
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from adamoe_ros.model.config import ModelConfig, adamoe_pi0, adamoe_pi05
from adamoe_ros.model.gemma import GemmaLayer
from adamoe_ros.model.policy_model import AdaMoEPolicy
from adamoe_ros.model.siglip import VisionBlock
from adamoe_ros.policy.engines.shapes import Shape
from adamoe_ros.training.finetuning import prepare_parts
from adamoe_ros.training.training_config import LoraConfig, NetworkConfig

PAGE, OUT = ROOT / "doc" / "scale.md", RESULTS / "training_budget.json"
GPUS, VIEWS, BATCH = 8, 3, 32  # BATCH: samples of a GPU
MEMORY = 141e9  # bytes of an H200
NVLINK, NETWORK = 450e9, 50e9  # bytes/s of a GPU in one direction; 400 Gb/s a GPU between hosts
REACHED = 0.4  # of the chip's product rate, for the upper bound: what well-written training reaches
INSIDE = (5, 8)  # times the hidden width, times the width: bfloat16 numbers of a token in a layer
LORA = NetworkConfig(
    lora=LoraConfig(rank=16, alpha=16, targets=("prefix", "expert")), freeze=("vision", "embed")
)


@dataclass(frozen=True)
class Weights:
    """Numbers of parameters.

    Attributes:
        whole, trained: all, and those with gradients. layer: of the largest layer.
        rest, rest_trained: in no layer, gathered for a whole step.
    """

    whole: int
    trained: int
    layer: int
    rest: int
    rest_trained: int


def weights(config: ModelConfig, wanted: NetworkConfig) -> Weights:
    """Counted in a network without memory."""
    with FakeTensorMode():
        network = AdaMoEPolicy(config)
        prepare_parts(network, wanted, 0)
    layers = [m for m in network.modules() if isinstance(m, (GemmaLayer, VisionBlock))]
    inside = {id(p) for layer in layers for p in layer.parameters()}
    rest = [p for p in network.parameters() if id(p) not in inside]

    def count(module: nn.Module) -> int:
        return sum(p.numel() for p in module.parameters())

    return Weights(
        count(network),
        sum(p.numel() for p in network.parameters() if p.requires_grad),
        max(map(count, layers)),
        sum(p.numel() for p in rest),
        sum(p.numel() for p in rest if p.requires_grad),
    )


def memory(config: ModelConfig, count: Weights, gpus: int, batch: int) -> dict[str, float]:
    """Bytes of one GPU by what they are for."""
    alone = gpus == 1
    gathered = 0 if alone else 4 * (2 * count.layer + count.rest + count.rest_trained)
    return {
        "weights": 4 * count.whole / gpus,
        "average": 4 * count.whole / gpus,
        "gradients": 4 * count.trained / gpus,
        "moments": 8 * count.trained / gpus,
        "gathered": gathered,
        "bfloat16 copies": 2 * count.trained,
        "merged layer": 6 * count.layer if count.trained < count.whole else 0,  # LoRA's sum
        "layers' inputs": batch
        * sum(rows * 4 * width * depth for rows, width, depth, _ in parts(config)),
        "inside one layer": batch
        * max(r * 2 * (INSIDE[0] * m + INSIDE[1] * w) for r, w, _, m in parts(config)),
    }


def parts(config: ModelConfig) -> Iterator[tuple[int, int, int, int]]:
    """(tokens of a sample, width, depth, hidden width) of the three transformers."""
    shape = Shape(1, VIEWS, config.prompt_length)
    vision, prefix, expert, moe = config.vision, config.prefix, config.expert, config.moe
    held = 1 if moe.variant == "dense" else 1 + moe.num_experts  # form wide computes all
    yield VIEWS * vision.tokens, vision.width, vision.depth, vision.mlp
    yield shape.prefix_tokens(config), prefix.width, prefix.depth, prefix.mlp
    tokens = config.state_tokens + config.action_tokens
    yield tokens, expert.width, prefix.depth, held * expert.mlp


def step(config: ModelConfig, count: Weights, frozen: bool) -> dict[str, float]:
    """s of one step of 8 GPUs by what takes them, each alone at the chip's published rate.

    Backward passes cost two forward ones, one where the weights are frozen; checkpointing adds one.
    """
    needed = costs(config, Shape(BATCH, VIEWS, config.prompt_length), torch.bfloat16, False, 1)
    vision, others = needed["vision"].flops, needed["prefix"].flops + needed["step"].flops
    flops = vision + 3 * others if frozen else 4 * (vision + others)
    chip, share = CHIPS["H200"], (GPUS - 1) / GPUS
    moved = 4 * share * (2 * count.whole - count.rest + count.trained)
    # weights, moments and average are read and written, gradients read; the rest is averaged, too
    optimiser = 4 * (9 * count.trained + 3 * (count.whole - count.trained)) / GPUS
    return {
        "products": flops / chip.flops,
        "collectives, NVLink": moved / NVLINK,
        "collectives, 400 Gb/s": moved / NETWORK,
        "optimiser": optimiser / chip.bytes_per_s,
    }


def budget(config: ModelConfig, wanted: NetworkConfig) -> dict[str, Any]:
    """Everything of one policy and one way to train it."""
    count, frozen = weights(config, wanted), wanted.lora is not None
    needed = {gpus: memory(config, count, gpus, BATCH) for gpus in (1, GPUS)}
    batches = [
        b
        for b in (2**n for n in range(12))
        if sum(memory(config, count, GPUS, b).values()) < 0.9 * MEMORY
    ]
    took = step(config, count, frozen)
    moved = took["collectives, NVLink"]
    return {
        "parameters": asdict(count),
        "GB_of_a_GPU": {
            str(gpus): {name: round(size / 1e9, 2) for name, size in kinds.items()}
            | {"sum": round(sum(kinds.values()) / 1e9, 1)}
            for gpus, kinds in needed.items()
        },
        "largest_batch_of_a_GPU": max(batches, default=0),
        "ms_of_a_step": {name: round(1e3 * seconds, 1) for name, seconds in took.items()},
        "least_ms": round(1e3 * (max(took["products"], moved) + took["optimiser"]), 1),
        "most_ms": round(1e3 * (took["products"] / REACHED + moved + took["optimiser"]), 1),
    }


def document() -> dict[str, Any]:
    """The JSON."""
    policies = {"AdaMoE pi0": adamoe_pi0(), "AdaMoE pi0.5": adamoe_pi05()}
    ways = {"full": NetworkConfig(), "LoRA": LORA}
    return {
        "what": "on paper, nothing was run: 8 x H200, gradient checkpointing, bfloat16 products",
        "settings": {"gpus": GPUS, "views": VIEWS, "batch_of_a_GPU": BATCH, "reached": REACHED},
        "budgets": {
            f"{name}, {way}": budget(config, wanted)
            for name, config in policies.items()
            for way, wanted in ways.items()
        },
    }


def table(made: dict[str, Any]) -> str:
    """Rows of the page."""
    lines = [
        "| on paper | trained, M | GB of a GPU: 8 GPUs / 1 GPU | largest batch a GPU | step, ms | products | NVLink | 400 Gb/s | optimiser |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, entry in made["budgets"].items():
        ms, size = entry["ms_of_a_step"], entry["GB_of_a_GPU"]
        cells = [
            name,
            f"{entry['parameters']['trained'] / 1e6:,.0f}".replace(",", " "),
            f"{size[str(GPUS)]['sum']} / {size['1']['sum']}",
            entry["largest_batch_of_a_GPU"],
            f"{entry['least_ms']:.0f} ... {entry['most_ms']:.0f}",
            *(f"{value:.0f}" for value in ms.values()),
        ]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def main() -> int:
    """Write or compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare only")
    options = parser.parse_args()
    made, page = document(), PAGE.read_text(encoding="utf-8")
    text = with_block(page, "benchmarks/training_budget.py", table(made))
    if options.check:
        same = page == text and json.loads(OUT.read_text()) == made
        print("" if same else f"{PAGE.name}: not what this script writes; run it", end="")
        return int(not same)
    PAGE.write_text(text, encoding="utf-8")
    write(OUT, made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
