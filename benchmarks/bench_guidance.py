# SPDX-License-Identifier: Apache-2.0
"""Cost of real-time chunking's guidance: an inference without, with ``identity``, with ``vjp``.

The three take turns, so that whatever else the machine does meets all of them, and what is reported
are ratios. On a CPU the time of this process is counted, which others cannot lengthen by taking
turns; on a GPU wall time between synchronisations. Writes JSON.

    python benchmarks/bench_guidance.py [--checkpoint DIR | --preset adamoe_pi0] [--device cuda]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS, ROOT, machine, write

KINDS = ("unguided", "identity", "vjp")


def checkpoint_inference(folder: Path, device: str) -> tuple[Callable[[Any], object], Any, str]:
    """(inference with a guidance, sizes, device name) of a checkpoint: everything policy_node times."""
    from adamoe_ros.contract.observation import Observation
    from adamoe_ros.policy.checkpoint import read_checkpoint
    from adamoe_ros.policy.runtime import PolicyRuntime

    runtime = PolicyRuntime(read_checkpoint(folder), device)
    manifest, statistics = runtime.checkpoint.manifest, runtime.checkpoint.statistics
    assert statistics is not None
    rng = np.random.default_rng(0)
    pictures = {
        slot: rng.integers(0, 256, (480, 640, 3), dtype=np.uint8) for slot in manifest.camera_slots
    }
    sentence = manifest.instructions[0] if manifest.instructions else "wait"
    observation = Observation(0, pictures, np.array(statistics.state.mean), sentence)
    noise = runtime.noise(0)
    return (
        lambda options: runtime.infer(observation, noise, options),
        runtime.checkpoint.config,
        str(runtime.engine.device),
    )


def preset_inference(name: str, device: str) -> tuple[Callable[[Any], object], Any, str]:
    """The same of made-up weights: the network alone, from pictures of its own size."""
    import torch

    from adamoe_ros.model.config import preset
    from adamoe_ros.model.layers import initialise
    from adamoe_ros.model.policy_model import AdaMoEPolicy
    from adamoe_ros.policy.runtime import choose_device

    sizes, on = preset(name), choose_device(device)
    dtype = torch.bfloat16 if on.type == "cuda" else torch.float32
    with torch.device("meta"):
        network = AdaMoEPolicy(sizes)
    network = network.to_empty(device=on).to(dtype).eval().requires_grad_(False)
    initialise(network, torch.Generator(on).manual_seed(0))
    height, width = sizes.vision.image_size
    inputs: dict[str, Any] = {
        "images": torch.zeros(1, sizes.num_views, 3, height, width, device=on),
        "image_mask": torch.ones(1, sizes.num_views, dtype=torch.bool),
        "token_ids": torch.ones(1, sizes.prompt_length, dtype=torch.int64, device=on),
        "token_mask": torch.ones(1, sizes.prompt_length, dtype=torch.bool),
        "state": torch.zeros(1, sizes.state_dim, device=on),
    }
    noise = torch.randn(1, sizes.horizon, sizes.action_dim).to(on)
    return (
        lambda options: network.sample(**inputs, noise=noise, options=options.to(on)),
        sizes,
        str(on),
    )


def measure(
    infer: Callable[[Any], object], guidances: dict[str, Any], rounds: int, cuda: bool
) -> dict[str, list[float]]:
    """s of every inference, taking turns in an order that changes."""
    import torch

    clock = time.perf_counter if cuda else time.process_time
    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for turn in range(-2, rounds):
        for place in range(len(KINDS)):
            kind = KINDS[(place + turn) % len(KINDS)]
            if cuda:
                torch.cuda.synchronize()
            begun = clock()
            infer(guidances[kind])
            if cuda:
                torch.cuda.synchronize()
            if turn >= 0:  # the first two turns pay for first calls
                seconds[kind].append(clock() - begun)
    return seconds


def ratio(guided: list[float], plain: list[float]) -> dict[str, float]:
    """Share added: of the medians, and the median over turns with its middle half."""
    each = np.array(guided) / np.array(plain) - 1.0
    low, middle, high = np.quantile(each, (0.25, 0.5, 0.75))
    medians = np.median(guided) / np.median(plain) - 1.0
    names = ("of_medians", "median_of_turns", "quartile_1", "quartile_3")
    values = (medians, middle, low, high)
    return {name: round(float(value), 4) for name, value in zip(names, values, strict=True)}


def surroundings(device: str) -> dict[str, Any]:
    """What it ran on."""
    import torch

    gpu = torch.cuda.get_device_name(device) if device.startswith("cuda") else None
    return {**machine(), "gpu": gpu}


def main() -> int:
    """Measure and write."""
    import torch

    from adamoe_ros.control.rtc_math import soft_mask
    from adamoe_ros.model.conditioning import FREE, Jacobian
    from adamoe_ros.policy.actor import condition_on

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=ROOT / "checkpoints" / "demo")
    parser.add_argument("--preset", help="instead: made-up weights of these sizes, network alone")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--out", type=Path, default=RESULTS / "guidance.json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    make = preset_inference if options.preset else checkpoint_inference
    infer, sizes, device = make(options.preset or options.checkpoint, options.device)  # type: ignore[arg-type]
    horizon, steps = sizes.horizon, sizes.flow_steps
    rows = np.random.default_rng(1).normal(size=(horizon, sizes.action_dim))
    weights = soft_mask(horizon, horizon // 10, horizon // 2)
    guidances: dict[str, Any] = {"unguided": FREE}
    kind: Jacobian
    for kind in ("identity", "vjp"):
        guidances[kind] = condition_on(rows, weights, 0, float(steps), kind)
    seconds = measure(infer, guidances, options.rounds, device.startswith("cuda"))
    document = {
        "what": "one inference of one observation; share of its time that guidance adds",
        "clock": "wall" if device.startswith("cuda") else "CPU time of the process",
        "settings": {
            "network": options.preset or options.checkpoint.name,
            "flow_steps": steps,
            "horizon": horizon,
            "threads": options.threads,
            "rounds": options.rounds,
        },
        "machine": surroundings(device),
        "milliseconds": {k: round(float(np.median(v)) * 1e3, 2) for k, v in seconds.items()},
        "added": {kind: ratio(seconds[kind], seconds["unguided"]) for kind in KINDS[1:]},
    }
    write(options.out, document)
    print(json.dumps(document["milliseconds"]), json.dumps(document["added"]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
