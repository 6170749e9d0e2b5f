#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""``adamoe bench`` beside a roofline and other codes' pi0, and many inferences in a row.

One process, candidates taking turns, by default one thread and the process's CPU time (wall time on
CUDA). The authors' form of the mixture layer is a candidate, too, on a CPU.

    python benchmarks/bench_engines.py --preset pi0 --depth 3 --peers transformers,openpi
"""

from __future__ import annotations

import argparse
import copy
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch
from common import ROOT
from pi0_peers import PEERS, make_peer, peer_stages
from roofline import ceilings, costs, roofline

sys.path.insert(0, str(ROOT))

from adamoe_ros.cli.bench import add_arguments, settings_values, write_json
from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.evaluation.bench import latency
from adamoe_ros.evaluation.bench.latency import Bench, BenchSettings, Report
from adamoe_ros.evaluation.bench.timing import Work, summary
from adamoe_ros.evaluation.bench.workload import Problem, engine_stages
from adamoe_ros.model.conditioning import SamplingOptions
from adamoe_ros.model.moe import MoEFeedForward
from adamoe_ros.policy.engines import make_engine
from adamoe_ros.policy.engines.eager import Engine
from adamoe_ros.policy.engines.shapes import exact_shape


def compare(
    settings: BenchSettings, report: Report, peers: tuple[str, ...] = ("auto",), soaked: int = 0
) -> dict[str, Any]:
    """The bench's result with ``roofline``, peers among its candidates and ``soak``.

    Args:
        peers: of ``PEERS``; ``auto``: all that can be imported here and have the model's widths.
        soaked: inferences in a row; 0: none.

    Raises:
        ContractError: settings that cannot be measured here.
    """
    _check(settings, peers)
    bench, left_out = Bench(settings, report), {}
    report("ceilings of the device")
    limits = ceilings(bench.device, bench.dtype, bench.settings.clock)
    with torch.inference_mode():
        for name in PEERS if "auto" in peers else peers:
            report(f"peer {name}")
            try:
                bench.works[name] = peer_stages(
                    make_peer(name, bench.network), bench.problem, bench.device
                )
            except ContractError as error:
                if name in peers:
                    raise
                left_out[name] = error.problems[0]
        if "eager" in settings.engines and bench.device.type == "cpu":
            bench.works |= _all_experts(bench)
    result = bench.run()
    chosen, shape = bench.settings, exact_shape(bench.problem.inputs)
    needed = costs(bench.config, shape, bench.dtype, chosen.int8, chosen.steps)
    result["roofline"] = roofline(needed, limits, result["stages"])
    result["faster"] = latency.ratios(result, (*PEERS, "eager", "eager all-experts"))
    result["peers_left_out"] = left_out
    if soaked:
        report(f"{soaked} inferences in a row")
        result["soak"] = soak(list(bench.engines.values())[-1], bench.problem, soaked)
    return result


def _check(settings: BenchSettings, peers: tuple[str, ...]) -> None:
    lines = []
    if unknown := set(peers) - {"auto", *PEERS}:
        expected = "auto, " + ", ".join(PEERS)
        lines.append(problem("--peers", expected, sorted(unknown), "correct it"))
    if peers and settings.batch > 1:
        lines.append(problem("--batch", "1 beside a peer", settings.batch, "add --peers ''"))
    if lines:
        raise ContractError(lines)


def _all_experts(bench: Bench) -> dict[str, dict[str, Work]]:
    """The authors' form of the layer in the eager network, which keeps its parameters."""
    if bench.config.moe.variant == "dense":
        return {}
    other = copy.copy(bench.network)
    other._modules = dict(bench.network._modules)
    same = {id(parameter): parameter for parameter in bench.network.expert.parameters()}
    other.expert = copy.deepcopy(bench.network.expert, same)
    for module in other.expert.modules():
        if isinstance(module, MoEFeedForward):
            module.static_shapes = True
    stages = engine_stages(make_engine("eager", other), bench.problem)
    return {"eager all-experts": {"step": stages["step"]}}


def soak(engine: Engine, problem: Problem, count: int) -> dict[str, Any]:
    """Run ``count`` inferences; memory is compared after the first tenth and at the end."""
    times, early = [], (0, 0)
    for number in range(count):
        begun = time.perf_counter()
        engine.sample(problem.inputs, problem.noise, SamplingOptions(problem.steps))
        times.append(time.perf_counter() - begun)
        if number == count // 10:
            early = _memory(engine.device)
    late = _memory(engine.device)
    return {
        "inferences": count,
        "host_growth_bytes": late[0] - early[0],
        "device_growth_bytes": late[1] - early[1],
        "wall": summary(times[count // 10 :]),
    }


def _memory(device: torch.device) -> tuple[int, int]:
    """Bytes of this process in host memory, and of every process on the device."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    free, total = torch.cuda.mem_get_info(device) if device.type == "cuda" else (0, 0)
    return pages * os.sysconf("SC_PAGE_SIZE"), int(total - free)


def table(result: dict[str, Any]) -> str:
    """The bench's table with the roofline, what was left out and the memory run."""
    limits = result["roofline"]
    lines = [
        latency.table(result, limits["floor_ms"]),
        "",
        f"best rates seen: {limits['copy_bytes_per_s'] / 1e9:.1f} GB/s, "
        f"{limits['product_flops'] / 1e12:.3f} TFLOP/s",
        *(f"left out: {reason}" for reason in result["peers_left_out"].values()),
    ]
    if "soak" in result:
        soaked = result["soak"]
        lines.append(
            f"{soaked['inferences']} inferences: host memory {soaked['host_growth_bytes']:+d} B, "
            f"device {soaked['device_growth_bytes']:+d} B, p50 {soaked['wall']['median_ms']:.2f} ms, "
            f"p99 {soaked['wall']['p99_ms']:.2f} ms (wall)"
        )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser)
    parser.set_defaults(threads=1, clock="cpu")
    parser.add_argument("--peers", default="auto", help=f"auto, or with commas: {', '.join(PEERS)}")
    parser.add_argument("--soak", type=int, default=0, help="inferences in a row; 0: none")
    options = parser.parse_args(arguments)
    peers = tuple(filter(None, options.peers.split(",")))
    settings = BenchSettings(**settings_values(options))
    try:
        result = compare(settings, lambda line: print(line, file=sys.stderr), peers, options.soak)
    except ContractError as error:
        print(error, file=sys.stderr)
        return 2
    print(table(result))
    write_json(options.out, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
