#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Training steps: this package against transformers' PI0 with AdamW, same weights, same batches.

Each candidate runs in a process of its own, for its peak memory; the two take turns, and medians of
the process's CPU time count. pi0's form at a quarter of its width and reduced depth, float32: full
width needs 52 GB for weights, gradients and moments. Ours also keeps the averaged weights. The first
losses must agree, or nothing is written. The loader's share is what a step waits for its samples.

    python benchmarks/bench_training.py --out benchmarks/results/training.json
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS, machine, write

SIZES = {
    "vision.width": 288, "vision.depth": 3, "vision.heads": 4, "vision.mlp": 1076,
    "prefix.width": 512, "prefix.depth": 3, "prefix.mlp": 4096, "prefix.head_dim": 64,
    "prefix.vocab": 4096, "expert.width": 256, "expert.mlp": 1024,
    "action_dim": 14, "state_dim": 14,
}  # fmt: skip
ROLES = tuple(f"{s}_{j}" for s in ("left", "right") for j in (*range(6), "gripper"))


def data_set(folder: Path) -> Any:
    """Two episodes whose pictures are mapped from disk, as those of a dataset are."""
    from adamoe_ros.training.demonstration_set import DataLayout, Demonstration, DemonstrationSet

    rng, episodes = np.random.default_rng(0), []
    for number in range(2):
        path = folder / f"{number}.npy"
        if not path.is_file():
            np.save(path, rng.integers(0, 256, (60, 3, 224, 224, 3), dtype=np.uint8))
        actions = np.cumsum(np.random.default_rng(number).normal(0, 0.02, (60, 14)), 0)
        rows = actions.astype(np.float32)
        pictures = np.load(path, mmap_mode="r")
        steps = np.arange(60)
        words = ("lift the bar",) * 60, ("lift",) * 60
        episodes.append(Demonstration(pictures, steps, rows, rows, None, *words, number))
    slots = ("cam_high", "cam_left_wrist", "cam_right_wrist")
    return DemonstrationSet(episodes, DataLayout("test_arms", slots, ROLES, 50.0), rows=50)


def prepared(options: argparse.Namespace) -> tuple[Any, Any, Any, Any]:
    """Settings, data, start and objective, the same for both."""
    import torch

    from adamoe_ros.training.starting_point import make_start, model_sizes
    from adamoe_ros.training.training_config import TrainingConfig
    from adamoe_ros.training.training_run import make_objective, prompt_encoder

    torch.set_num_threads(options.threads)
    config = TrainingConfig.model_validate(
        {
            "steps": options.steps, "batch_size": options.batch, "log_every": 1,
            "save_every": 10**9, "tensorboard": False, "device": "cpu",
            "model": {"preset": "pi0", "changes": SIZES},
        }
    )  # fmt: skip
    data = data_set(options.folder)
    start = make_start(config, None, model_sizes(config), data)
    prompt = prompt_encoder(start, options.folder)
    return config, data, start, make_objective(config, start, prompt, torch.device("cpu"))


def ours(options: argparse.Namespace) -> dict[str, Any]:
    """The trainer as ``adamoe train`` runs it, without its files."""
    from adamoe_ros.training.sampling import Prefetcher
    from adamoe_ros.training.trainer import Trainer

    config, data, start, objective = prepared(options)
    folder = Path(tempfile.mkdtemp(dir=options.folder))
    trainer = Trainer(config, start.network, objective, data, folder)
    samples = Prefetcher(trainer._samples, options.steps)
    waits: list[float] = []
    fetch = samples.get

    def timed(step: int) -> Any:
        begin = time.perf_counter()
        batch = fetch(step)
        waits.append(time.perf_counter() - begin)
        return batch

    samples.get = timed  # type: ignore[method-assign]
    result = measured(options, lambda step: float(trainer._advance(samples, None).total.detach()))
    samples.close()
    begin = time.perf_counter()
    data.batch(trainer._order.indices(0))
    share = statistics.median(waits[1:]) / result["wall_s"]
    return {**result, "loader_share": share, "one_batch_s": time.perf_counter() - begin}


def transformers(options: argparse.Namespace) -> dict[str, Any]:
    """PI0's own forward pass, clipping and AdamW on the inputs that ours is given."""
    import torch
    from pi0_peers import TransformersPeer

    from adamoe_ros.training.optimiser import learning_rate
    from adamoe_ros.training.sampling import ShuffledOrder

    class Recorded(torch.nn.Module):
        def forward(self, **inputs: Any) -> None:
            self.inputs = inputs
            raise StopIteration

    config, data, start, objective = prepared(options)
    peer, recorded = TransformersPeer(start.network), Recorded()
    model = peer.model.train().requires_grad_(True)
    group = config.optimiser.base
    optimiser = torch.optim.AdamW(
        model.parameters(), betas=config.optimiser.betas, eps=config.optimiser.eps,
        weight_decay=group.weight_decay,
    )  # fmt: skip
    order = ShuffledOrder(len(data), config.batch_size, config.seed)

    def step(number: int) -> float:
        try:
            objective(recorded, data.batch(order.indices(number)), number)
        except StopIteration:
            given = recorded.inputs
        names = ("images", "image_mask", "token_ids", "token_mask", "state")
        one = [peer.arguments(*(given[n][i : i + 1] for n in names)) for i in range(options.batch)]
        joined = {name: torch.cat([row[name] for row in one]) for name in one[0]}
        chunk = {"actions": given["actions"], "noise": given["noise"], "timestep": given["time"]}
        optimiser.param_groups[0]["lr"] = learning_rate(group, number, config.steps)
        loss = model(**joined, **chunk).loss.mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.optimiser.clip_norm)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        return float(loss.detach())

    return measured(options, step)


def measured(options: argparse.Namespace, step: Any) -> dict[str, Any]:
    """Losses and the medians of a step's times; the first step is apart."""
    losses, cpu, wall = [], [], []
    for number in range(options.steps):
        begin = time.process_time(), time.perf_counter()
        losses.append(step(number))
        cpu.append(time.process_time() - begin[0])
        wall.append(time.perf_counter() - begin[1])
    return {
        "losses": losses,
        "cpu_s": statistics.median(cpu[1:]),
        "wall_s": statistics.median(wall[1:]),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


CANDIDATES = {"ours": ours, "transformers": transformers}


def turn(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """One candidate in a process of its own."""
    numbers = {"steps": options.steps, "batch": options.batch, "threads": options.threads}
    words = [word for key, value in numbers.items() for word in (f"--{key}", str(value))]
    command = [sys.executable, __file__, "--candidate", name, "--folder", str(options.folder)]
    done = subprocess.run([*command, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"{name}: {result['cpu_s']:.2f} s CPU a step, {result['peak_mb']:.0f} MB", flush=True)
    return result


def main() -> int:
    """Measure, compare the losses, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS / "training.json")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4, help="of one turn; the first is apart")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--candidate", choices=CANDIDATES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.candidate:
        print(json.dumps(CANDIDATES[options.candidate](options)))
        return 0
    notes = machine()
    with tempfile.TemporaryDirectory() as folder:
        options.folder = Path(folder)
        data_set(options.folder)
        turns = [{n: turn(n, options) for n in CANDIDATES} for _ in range(options.rounds)]
    pairs = zip(turns[0]["ours"]["losses"], turns[0]["transformers"]["losses"], strict=True)
    apart = max(abs(a - b) / b for a, b in pairs)
    if apart > 1e-3:
        raise SystemExit(f"losses differ by {apart:.1e}: not the same training")
    found: dict[str, Any] = {}
    for name in CANDIDATES:
        rows = [result[name] for result in turns]
        found[name] = {k: statistics.median(r[k] for r in rows) for k in rows[0] if k != "losses"}
        found[name]["samples_per_cpu_s"] = options.batch / found[name]["cpu_s"]
    theirs = found["transformers"]
    document = {
        "machine": notes,
        "settings": {"sizes": SIZES, **{k: getattr(options, k) for k in
                     ("rounds", "steps", "batch", "threads")}},
        "losses_differ_by": apart,
        "candidates": found,
        "times_as_fast": theirs["cpu_s"] / found["ours"]["cpu_s"],
        "share_of_memory": found["ours"]["peak_mb"] / theirs["peak_mb"],
        "turns": turns,
    }  # fmt: skip
    write(options.out, document)
    return 0


if __name__ == "__main__":
    sys.exit(main())
