#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The CPU engine against transformers' PI0, LeRobot's pi0.5 and the authors' form of the mixture.

One process, one thread, the same random weights, candidates taking turns, medians of the process's
CPU time. Full width, reduced depth: float32 of full depth needs 26 GB with both forms in memory.
Every layer costs alike, so the times of two depths give those of full depth (vision 27, prefix and
expert 18); that matters, because one prefix layer of all is skipped, which weighs more in few.
Peers are those that can be imported; each part replaces its own entry of the output.

    python benchmarks/bench_engine_cpu.py --parts "dense bfloat16" --depths 3 9

LeRobot's needs Python 3.12 and transformers 5.5 beside it (``requirements/peers.txt`` into
``.venv-lerobot``):

    .venv-lerobot/bin/python benchmarks/bench_engine_cpu.py --parts "pi0.5 bfloat16" "pi0.5 float32"
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from bench_engines import compare, table  # noqa: E402
from roofline import costs  # noqa: E402

from adamoe_ros.evaluation.bench.latency import BenchSettings  # noqa: E402
from adamoe_ros.model.config import ModelConfig, preset  # noqa: E402
from adamoe_ros.policy.engines.shapes import Shape  # noqa: E402

PARTS = ("mixture bfloat16", "dense bfloat16", "mixture float32", "dense float32")
PI05_PARTS = ("pi0.5 bfloat16", "pi0.5 float32")
FULL = {"vision": 27, "depth": 18, "steps": 10}


def at_full_depth(shallow: dict[str, Any], deep: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Candidate -> ms of ``vision``, ``prefix``, ``step``, ``whole`` (10 steps) at full depth."""
    depths = [r["model"]["prefix"]["depth"] for r in (shallow, deep)]

    def line(stage: str, name: str, depth: int) -> float:
        low, high = (stage_ms(r, stage, name) for r in (shallow, deep))
        return low + (high - low) * (depth - depths[0]) / (depths[1] - depths[0])

    out = {}
    for name in deep["stages"]["encode"]:
        vision = line("vision", name, FULL["vision"])
        prefix, step = line("prefix", name, FULL["depth"]), line("step", name, FULL["depth"])
        whole = vision + prefix + FULL["steps"] * step
        out[name] = {"vision": vision, "prefix": prefix, "step": step, "whole": whole}
    return out


def stage_ms(result: dict[str, Any], stage: str, name: str) -> float:
    """Median ms; ``prefix`` is ``encode`` without vision."""
    stages = result["stages"]
    if stage == "prefix":
        return float(stages["encode"][name]["median_ms"] - stages["vision"][name]["median_ms"])
    return float(stages[stage][name]["median_ms"])


def dense(
    dtype: str, depths: tuple[int, int], rounds: int, model: str = "pi0", peer: str = "transformers"
) -> dict[str, Any]:
    """A dense preset at two depths, and what follows for full depth, against a peer above all."""
    results = []
    for depth in depths:
        settings = BenchSettings(
            preset=model, depth=depth, dtype=dtype, engines=("auto",), rounds=rounds,
            stages=("vision", "encode", "step"), threads=1, clock="cpu",
        )  # fmt: skip
        results.append(measured(settings))
    full = at_full_depth(results[0], results[1])
    own = full.pop("packed")
    ratios = {
        name: {stage: other[stage] / own[stage] for stage in own} for name, other in full.items()
    }
    return {
        "depths": results,
        "full_depth_ms": {**full, "packed": own},
        "faster_at_full_depth": ratios.pop(peer),
        "faster_at_full_depth_than": ratios,
        "product_bound": product_bound(results[1], full[peer], preset(model)),
    }


def product_bound(
    result: dict[str, Any], peer: dict[str, float], config: ModelConfig
) -> dict[str, float]:
    """How much faster than a peer an engine of nothing but products would be.

    All multiplications of full depth at the ceiling of a large square product, measured in the run.
    """
    rate = result["roofline"]["product_flops"]
    needed = costs(
        config,
        Shape(1, config.num_views, config.prompt_length),
        torch.bfloat16,
        False,
        FULL["steps"],
    )
    least = {stage: cost.flops / rate * 1e3 for stage, cost in needed.items()}
    return {stage: ms / least[stage] for stage, ms in peer.items()}


def mixture(dtype: str, rounds: int) -> dict[str, Any]:
    """AdaMoE's flow step: sparse, and every expert for every token."""
    settings = BenchSettings(
        preset="adamoe_pi0", depth=3, dtype=dtype, engines=("eager", "auto"), rounds=rounds,
        mixtures=("sparse", "wide"), stages=("step",), threads=1, clock="cpu",
    )  # fmt: skip
    return measured(settings)


def measured(settings: BenchSettings) -> dict[str, Any]:
    """Run and show one."""
    result = compare(settings, lambda line: print(f"  {line}", file=sys.stderr, flush=True))
    print(table(result), flush=True)
    return result


def main() -> int:
    """Measure everything, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/engine_cpu.json")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--depths", type=int, nargs=2, default=(3, 6))
    parser.add_argument("--parts", nargs="+", choices=(*PARTS, *PI05_PARTS), default=PARTS)
    options = parser.parse_args()
    depths = (options.depths[0], options.depths[1])
    found: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {}
    for part in options.parts:
        kind, dtype = part.split()
        if kind == "mixture":
            found[part] = mixture(dtype, options.rounds)
        else:
            models = {"dense": ("pi0", "transformers"), "pi0.5": ("pi05", "lerobot")}
            found[part] = dense(dtype, depths, options.rounds, *models[kind])
            print(json.dumps(found[part]["faster_at_full_depth"]), flush=True)
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
