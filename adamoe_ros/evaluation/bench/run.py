# SPDX-License-Identifier: Apache-2.0
"""``adamoe bench``: candidates, stages, roofline, as one dictionary for JSON."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.evaluation.bench.hardware import machine
from adamoe_ros.evaluation.bench.measure import Work, interleaved, operations, summary
from adamoe_ros.evaluation.bench.openpi_peer import OpenpiPeer
from adamoe_ros.evaluation.bench.peer import Peer, TransformersPeer
from adamoe_ros.evaluation.bench.roofline import Ceilings, ceilings, costs
from adamoe_ros.evaluation.bench.settings import PEERS, STAGES, BenchSettings
from adamoe_ros.evaluation.bench.soak import soak
from adamoe_ros.evaluation.bench.workload import (
    Problem,
    engine_stages,
    made_up_network,
    made_up_problem,
    peer_stages,
)
from adamoe_ros.model.config import ModelConfig
from adamoe_ros.model.moe import MoEFeedForward
from adamoe_ros.model.policy_model import AdaMoEPolicy
from adamoe_ros.policy.engines import AUTO, EngineSettings, make_engine
from adamoe_ros.policy.engines.eager import Engine
from adamoe_ros.policy.engines.shapes import exact_shape

Say = Callable[[str], None]


def run_bench(settings: BenchSettings, say: Say) -> dict[str, Any]:
    """Measure everything that the settings ask for.

    Args:
        say: is told what happens next, one line each.

    Raises:
        ContractError: settings that cannot be measured here.
    """
    config = settings.model()
    settings = settings.filled(config)
    torch.set_num_threads(settings.threads)
    device, dtype = torch.device(settings.device), getattr(torch, settings.dtype)
    say("ceilings of the device")
    limits = ceilings(device, dtype)
    say(f"network of {settings.preset}, random weights")
    network = made_up_network(config, dtype, device)
    problem = made_up_problem(
        config, settings.batch, settings.views, settings.prompt, settings.steps
    )
    with torch.inference_mode():
        left_out: dict[str, str] = {}
        works, engines = _candidates(settings, network, problem, device, left_out, say)
        stages = _measure(settings, works, device, say)
        deviation = _deviation(engines, problem) if "whole" in settings.stages else {}
        say("operations")
        counted = {
            name: operations(engine_stages(engine, problem)["whole"], device)
            for name, engine in engines.items()
            if "whole" in settings.stages
        }
    result: dict[str, Any] = {
        "settings": asdict(settings),
        "model": config.to_dict(),
        "machine": machine(device),
        "peers_left_out": left_out,
        "clock": "wall" if device.type == "cuda" else "process CPU time",
        "stages": stages,
        "operations": counted,
        "deviation": deviation,
        "peak_device_bytes": {name: engine.peak_memory() for name, engine in engines.items()},
        "roofline": _roofline(settings, config, problem, limits, dtype),
    }
    _add_speed(result)
    if device.type == "cuda":
        result["device_stages_ms"] = _device_stages(engines, problem)
    if settings.soak:
        say(f"{settings.soak} inferences in a row")
        chosen = list(engines.values())[-1]
        result["soak"] = soak(chosen, problem, settings.soak)
    return result


def _candidates(
    settings: BenchSettings,
    network: AdaMoEPolicy,
    problem: Problem,
    device: torch.device,
    left_out: dict[str, str],
    say: Say,
) -> tuple[dict[str, dict[str, Work]], dict[str, Engine]]:
    """Name -> stages, and name -> engine, all with the same weights."""
    works: dict[str, dict[str, Work]] = {}
    engines: dict[str, Engine] = {}
    moe = network.config.moe.variant != "dense"
    works.update(_peers(settings, network, problem, device, left_out, say))
    for name in settings.engines:
        forms = settings.mixtures if moe and name != "eager" else ("auto",)
        for form in forms:
            own = name if name != "auto" else AUTO[device.type]
            label = own if form == "auto" else f"{own} {form}"
            say(f"engine {label}")
            chosen = EngineSettings(
                mixture=form,  # type: ignore[arg-type]
                int8=settings.int8,
                consume=False,
                batches=(settings.batch,),
                views=(settings.views,),
                prompts=(settings.prompt,),
                steps=settings.steps,
            )
            engines[label] = make_engine(name, network, chosen)
            works[label] = engine_stages(engines[label], problem)
    if moe and "eager" in settings.engines and device.type == "cpu":
        works["eager all-experts"] = _all_experts(network, problem)
    return works, engines


def _peers(
    settings: BenchSettings,
    network: AdaMoEPolicy,
    problem: Problem,
    device: torch.device,
    left_out: dict[str, str],
    say: Say,
) -> dict[str, dict[str, Work]]:
    """Name -> stages of the peers; one that was not asked for by name may be missing.

    Args: left_out: name -> why, filled.
    """
    found: dict[str, dict[str, Work]] = {}
    for name in PEERS if "auto" in settings.peers else settings.peers:
        say(f"peer {name}")
        try:
            peer: Peer = (
                TransformersPeer(network) if name == "transformers" else OpenpiPeer(network, name)
            )
            found[name] = peer_stages(peer, problem, device)
        except ContractError as error:
            if name in settings.peers:
                raise
            left_out[name] = error.problems[0]
            say(f"left out: {error.problems[0]}")
    return found


def _all_experts(network: AdaMoEPolicy, problem: Problem) -> dict[str, Work]:
    """The authors' form of the layer in the eager network."""
    other = copy.copy(network)
    other._modules = dict(network._modules)
    other.expert = copy.deepcopy(network.expert, _sharing(network.expert))
    for module in other.expert.modules():
        if isinstance(module, MoEFeedForward):
            module.static_shapes = True
    engine = make_engine("eager", other)
    return {"step": engine_stages(engine, problem)["step"]}


def _sharing(module: torch.nn.Module) -> dict[int, Any]:
    """Memo of a deep copy that keeps the parameters themselves."""
    return {id(parameter): parameter for parameter in module.parameters()}


def _measure(
    settings: BenchSettings, works: dict[str, dict[str, Work]], device: torch.device, say: Say
) -> dict[str, dict[str, dict[str, float]]]:
    """Stage -> candidate -> summary."""
    found = {}
    for stage in (stage for stage in STAGES if stage in settings.stages):
        having = {name: parts[stage] for name, parts in works.items() if stage in parts}
        if not having:
            continue
        say(f"stage {stage}")
        rounds = settings.rounds * (4 if stage in ("step", "images") else 1)
        times = interleaved(having, rounds, device)
        found[stage] = {name: summary(values) for name, values in times.items()}
    return found


def _deviation(engines: dict[str, Engine], problem: Problem) -> dict[str, float]:
    """Largest difference of an action from the first engine's, relative to its largest action."""
    actions = [
        engine.sample(problem.inputs, problem.noise, problem.steps).sample.actions
        for engine in engines.values()
    ]
    largest = float(actions[0].abs().max())
    gaps = [float((found - actions[0]).abs().max()) / largest for found in actions]
    return dict(zip(engines, gaps, strict=True))


def _roofline(
    settings: BenchSettings,
    config: ModelConfig,
    problem: Problem,
    limits: Ceilings,
    dtype: torch.dtype,
) -> dict[str, Any]:
    """Ceilings and floors."""
    needed = costs(config, exact_shape(problem.inputs), dtype, settings.int8)
    floors = {name: cost.floor(limits) * 1e3 for name, cost in needed.items()}
    whole = floors["vision"] + floors["prefix"] + settings.steps * floors["step"]
    return {
        "copy_bytes_per_s": limits.bytes_per_s,
        "product_flops": limits.flops,
        "flops": {name: cost.flops for name, cost in needed.items()},
        "bytes": {name: cost.bytes for name, cost in needed.items()},
        "floor_ms": {**floors, "encode": floors["vision"] + floors["prefix"], "whole": whole},
    }


def _add_speed(result: dict[str, Any]) -> None:
    """Fraction of the roofline, and how much faster than the peer and than eager."""
    floors, stages = result["roofline"]["floor_ms"], result["stages"]
    steps = result["settings"]["steps"]
    totals = {}
    if "encode" in stages and "step" in stages:
        for name in stages["encode"].keys() & stages["step"].keys():
            encode, step = stages["encode"][name], stages["step"][name]
            totals[name] = encode["median_ms"] + steps * step["median_ms"]
    result["sum_ms"] = totals  # encode + steps * step
    result["roofline_fraction"] = {
        stage: {name: floors[stage] / row["median_ms"] for name, row in rows.items()}
        for stage, rows in stages.items()
        if stage in floors
    }
    faster: dict[str, dict[str, dict[str, float]]] = {}
    for stage, medians in [
        *((s, {n: r["median_ms"] for n, r in rows.items()}) for s, rows in stages.items()),
        ("sum", totals),
    ]:
        for base in (*PEERS, "eager", "eager all-experts"):
            if base in medians:
                ratios = {n: medians[base] / m for n, m in medians.items() if n != base}
                faster.setdefault(f"than {base}", {})[stage] = ratios
    result["faster"] = faster


def _device_stages(engines: dict[str, Engine], problem: Problem) -> dict[str, Any]:
    """Stage times by device events, medians of ten."""
    out = {}
    for name, engine in engines.items():
        rows = [
            engine.sample(problem.inputs, problem.noise, problem.steps).stages for _ in range(10)
        ]
        out[name] = {k: sorted(row[k] for row in rows)[5] * 1e3 for k in rows[0]}
    return out
