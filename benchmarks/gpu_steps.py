#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The steps of ``gpu_check.py``; each is a process of its own and writes what it knows at once.

A step that rehearses does the same on the CPU with tiny sizes in float32: the captured engine runs
its program without capture, own kernels run in Triton's interpreter. Times are wall, from frames in
host memory to actions in host memory.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

if "--rehearse" in sys.argv:  # before triton is imported
    os.environ["TRITON_INTERPRET"] = "1"

import torch
from gpu_check import read_json
from pi0_peers import make_peer, peer_stages
from roofline import Ceilings, ceilings, costs

from adamoe_ros.evaluation.bench.timing import operations, summary, timed
from adamoe_ros.evaluation.bench.workload import Problem, made_up_network, made_up_problem
from adamoe_ros.evaluation.machine import machine_record
from adamoe_ros.model.conditioning import SamplingOptions
from adamoe_ros.model.config import PRESETS, ModelConfig, tiny
from adamoe_ros.model.policy_model import AdaMoEPolicy
from adamoe_ros.policy.engines.captured import CapturedEngine
from adamoe_ros.policy.engines.eager import EagerEngine, Engine
from adamoe_ros.policy.engines.engine_settings import EngineSettings, MixtureChoice
from adamoe_ros.policy.engines.shapes import exact_shape

ROOT = Path(__file__).resolve().parents[1]
FORMS: tuple[MixtureChoice, ...] = ("wide", "grouped", "triton")
# ms of p50, first goal and near the limit, on an H200 with 3 views: doc/gpu_budget.md
GOALS = {"adamoe_pi0": (18.0, 14.0), "pi0": (14.0, 9.5)}
_DENSE = {"moe.variant": "dense", "moe.num_experts": 0, "moe.top_k": 0}


@dataclass
class Context:
    """Where and how a step runs.

    Attributes:
        result: file of this step. folder: of the whole run, with the results of the steps before.
        end: ``time.monotonic`` by which it should be done.
    """

    rehearse: bool
    result: Path
    folder: Path
    end: float

    @property
    def device(self) -> torch.device:
        """CUDA, or the CPU for a rehearsal."""
        if self.rehearse:
            return torch.device("cpu")
        if not torch.cuda.is_available():
            raise SystemExit(
                "gpu_check: expected a CUDA device, found none; --rehearse runs without"
            )
        return torch.device("cuda:0")

    @property
    def dtype(self) -> torch.dtype:
        """bfloat16; Triton's interpreter multiplies its bit patterns as whole numbers."""
        return torch.float32 if self.rehearse else torch.bfloat16

    def config(self, preset: str) -> ModelConfig | None:
        """None: there is no such preset."""
        if preset not in PRESETS:
            return None
        if not self.rehearse:
            return PRESETS[preset]()
        full = PRESETS[preset]()
        changes: dict[str, Any] = {"flow_steps": 1}
        if full.moe.variant == "dense":
            changes |= _DENSE
        if hasattr(full, "architecture"):
            changes["architecture"] = full.architecture
        return tiny().changed(changes)

    def network(self, config: ModelConfig) -> AdaMoEPolicy:
        """Random weights on the device."""
        return made_up_network(config, self.dtype, self.device)

    def save(self, found: dict[str, Any]) -> None:
        """Results so far, whole or not at all."""
        part = self.result.with_suffix(".part")
        part.write_text(json.dumps(found), encoding="utf-8")
        part.replace(self.result)

    def before(self, step: str) -> dict[str, Any]:
        """Result of an earlier step; empty: it has none."""
        record = read_json(self.folder / "gpu_check.json").get("steps", {}).get(step, {})
        return record.get("result", {}) if record.get("status") == "done" else {}

    def left(self) -> float:
        """s."""
        return self.end - time.monotonic()

    def runs(self, wanted: int) -> int:
        """Fewer in a rehearsal."""
        return min(wanted, 2) if self.rehearse else wanted


def environment(context: Context) -> dict[str, Any]:
    """What it is; fails where nothing later can work."""
    machine = machine_record(context.device)
    # a copied tree has no history
    machine["commit"] = machine["commit"] or os.environ.get("ADAMOE_COMMIT", "")
    import triton

    found = machine.get("gpu", {})
    name = found.get("name", machine["cpu"])
    memory = f", {found['memory_bytes'] / 1e9:.0f} GB" if found else ""
    packages = {**machine["packages"], "triton": triton.__version__}
    versions = f"torch {torch.__version__}, triton {triton.__version__}, "
    versions += f"transformers {packages['transformers']}, Python {machine['python']}"
    command = ["nvidia-smi", "--query-gpu=driver_version,clocks.sm,clocks.mem,power.draw,temperature.gpu",
               "--format=csv,noheader"]  # fmt: skip
    state = "" if context.rehearse else subprocess.run(
        command, capture_output=True, text=True, check=False
    ).stdout.strip()  # fmt: skip
    return {
        "machine": {**machine, "packages": packages}, "device": name + memory,
        "versions": versions + f", commit {machine['commit'] or 'unknown'}",
        "lines": [f"driver, SM and memory clock, power, degrees: {state}"] * bool(state),
    }  # fmt: skip


def device_ceilings(context: Context) -> dict[str, Any]:
    """The best rates that this device reaches."""
    found = ceilings(context.device, context.dtype, "wall", rounds=context.runs(20))
    line = f"copy {found.bytes_per_s / 1e12:.3f} TB/s, product {found.flops / 1e12:.1f} TFLOP/s"
    return {"copy_bytes_per_s": found.bytes_per_s, "product_flops": found.flops, "lines": [line]}


def tests(context: Context) -> dict[str, Any]:
    """``test/gpu`` but the full sizes, which the steps after this measure."""
    with tempfile.TemporaryDirectory() as place:
        report = Path(place) / "report.xml"
        words = [sys.executable, "-m", "pytest", "test/gpu", "-q", "-p", "no:cacheprovider",
                 "--deselect", "test/gpu/test_captured_engine.py::test_full_size_on_an_h200",
                 f"--junitxml={report}"]  # fmt: skip
        code = subprocess.run(words, cwd=ROOT, check=False).returncode
        cases = list(ElementTree.parse(report).iter("testcase"))
    bad = [c for c in cases if c.find("failure") is not None or c.find("error") is not None]
    skipped = sum(c.find("skipped") is not None for c in cases)
    lines = [f"{len(cases) - len(bad) - skipped} passed, {len(bad)} failed, {skipped} skipped"]
    for case in bad:
        told = next(part for part in case if part.tag in ("failure", "error"))
        lines.append(f"{case.get('name')}: {(told.get('message') or '').splitlines()[0][:120]}")
    slow = sorted(cases, key=lambda c: -float(c.get("time", 0)))[:3]
    lines.append("slowest: " + ", ".join(f"{c.get('name')} {c.get('time')} s" for c in slow))
    context.save({"lines": lines})
    if code not in (0, 5) or bool(skipped) != context.rehearse or not cases:
        raise SystemExit(f"test/gpu: pytest ended with {code}, {lines[0]}")
    return {"lines": lines}


def problem_of(context: Context, config: ModelConfig, batch: int = 1, prompt: int = 0) -> Problem:
    """All views, the longest prompt."""
    frame = (48, 64) if context.rehearse else (480, 640)
    prompt = prompt or config.prompt_length
    return made_up_problem(config, batch, config.num_views, prompt, config.flow_steps, frame)


def captured(
    network: AdaMoEPolicy, form: MixtureChoice, batch: int = 1, **changes: Any
) -> CapturedEngine:
    """The GPU's engine with graphs for one shape; on a CPU the same program without capture."""
    config = network.config
    settings = EngineSettings(
        mixture=form,
        batches=(batch,),
        views=(config.num_views,),
        prompts=(config.prompt_length,),
        **changes,
    )
    return CapturedEngine(network, settings)


def sampled(engine: Engine, problem: Problem) -> torch.Tensor:
    """Actions of one inference."""
    return engine.sample(
        problem.inputs, problem.noise, SamplingOptions(problem.steps)
    ).sample.actions


def measured(
    context: Context, engine: CapturedEngine, problem: Problem, wanted: int
) -> dict[str, Any]:
    """p50, p99 and the device's stages of so many inferences."""
    options, times, stages = SamplingOptions(problem.steps), [], []
    warm_ups = 1 if context.rehearse else 10
    for number in range(warm_ups + wanted):
        begun = time.perf_counter()
        found = engine.sample(problem.inputs, problem.noise, options)
        spent = time.perf_counter() - begun
        if number >= warm_ups:
            times.append(spent)
            stages.append(found.stages)
    medians = {name: summary([row[name] for row in stages])["median_ms"] for name in stages[0]}
    return {"runs": len(times), "wall": summary(times), "stages_ms": medians}


def deviation(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Largest difference relative to the largest wanted value."""
    return float((found - wanted).abs().max() / wanted.abs().max())


def engine(context: Context, preset: str, form: str) -> dict[str, Any]:
    """One policy at full size, in one form of the mixture layer."""
    config = context.config(preset)
    if config is None:
        return {"status": f"not there yet: no preset {preset}"}
    network, problem = context.network(config), problem_of(context, config)
    wanted = sampled(EagerEngine(network), problem)
    if context.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    begun = time.perf_counter()
    made = captured(network, form)  # type: ignore[arg-type]
    found: dict[str, Any] = {"preset": preset, "ready_s": time.perf_counter() - begun}
    found["deviation_from_eager"] = deviation(sampled(made, problem), wanted)
    found |= measured(context, made, problem, context.runs(500))
    found["peak_device_bytes"] = made.peak_memory()
    found |= fractions(context, config, problem, found, int8=False)
    context.save({**found, "lines": engine_lines(found, context)})
    found["kernels"] = operations(lambda: sampled(made, problem), context.device)
    return {**found, "lines": engine_lines(found, context)}


def fractions(
    context: Context, config: ModelConfig, problem: Problem, found: dict[str, Any], int8: bool
) -> dict[str, Any]:
    """Floors in ms by the measured ceilings, and the share of them that was reached."""
    limits = context.before("ceilings")
    if not limits:
        return {}
    best = Ceilings(limits["copy_bytes_per_s"], limits["product_flops"])
    needed = costs(config, exact_shape(problem.inputs), context.dtype, int8, problem.steps)
    floors = {name: cost.floor(best) * 1e3 for name, cost in needed.items()}
    floors["whole"] = floors["vision"] + floors["prefix"] + problem.steps * floors["step"]
    stages = found["stages_ms"]
    reached = {
        "encode": (floors["vision"] + floors["prefix"]) / stages["prefix"],
        "flow": problem.steps * floors["step"] / stages["flow"],
        "whole": floors["whole"] / found["wall"]["median_ms"],
    }
    return {"floor_ms": floors, "fraction_of_ceilings": reached}


def engine_lines(found: dict[str, Any], context: Context) -> list[str]:
    """For the page."""
    wall, stages = found["wall"], found["stages_ms"]
    first = f"p50 {wall['median_ms']:.2f} ms, p99 {wall['p99_ms']:.2f} ms of {found['runs']} runs"
    goals = GOALS.get(found.get("preset", ""))
    if goals and not context.rehearse and "H200" in torch.cuda.get_device_name():
        met = sum(wall["median_ms"] <= goal for goal in goals)
        first += (
            f"; goals {goals[0]:g} and {goals[1]:g} ms: {('missed', 'first met', 'both met')[met]}"
        )
    lines = [first, "stages, ms: " + ", ".join(f"{n} {ms:.3f}" for n, ms in stages.items())]
    if "fraction_of_ceilings" in found:
        shares = found["fraction_of_ceilings"].items()
        lines.append("of the ceilings: " + ", ".join(f"{name} {part:.0%}" for name, part in shares))
    rest = [
        f"memory {found['peak_device_bytes'] / 1e9:.2f} GB",
        f"ready in {found['ready_s']:.1f} s",
    ]
    if "kernels" in found:
        rest.insert(0, f"{found['kernels']} kernels")
    if "deviation_from_eager" in found:
        rest.append(
            f"actions differ from the eager network's by {found['deviation_from_eager']:.1e}"
        )
    return [*lines, ", ".join(rest)]


def peer(context: Context) -> dict[str, Any]:
    """transformers' PI0 with the same dense weights, as its users run it."""
    config = context.config("pi0")
    assert config is not None
    network, problem = context.network(config), problem_of(context, config)
    with torch.inference_mode():
        works = peer_stages(make_peer("transformers", network), problem, context.device)
        stages: dict[str, Any] = {}
        for name, wanted in (("whole", 60), ("vision", 10), ("encode", 10), ("step", 20)):
            times = [
                timed(works[name], context.device, "wall") for _ in range(3 + context.runs(wanted))
            ]
            stages[name] = summary(times[3:])
            context.save({"stages": stages})
        kernels = operations(works["whole"], context.device)
    whole, ours = (
        stages["whole"],
        context.before("engine pi0 auto").get("wall", {}).get("median_ms"),
    )
    line = f"p50 {whole['median_ms']:.2f} ms, p99 {whole['p99_ms']:.2f} ms, {kernels} kernels"
    found: dict[str, Any] = {"stages": stages, "kernels": kernels}
    if ours:
        found["ours_is_faster"] = whole["median_ms"] / ours
        line += f"; ours is {found['ours_is_faster']:.2f} times as fast"
    return {**found, "lines": [line]}


def int8(context: Context) -> dict[str, Any]:
    """8-bit weights beside the same kernels with whole ones: time, memory, deviation of actions."""
    config = context.config("adamoe_pi0")
    assert config is not None
    network, problem = context.network(config), problem_of(context, config)
    plain = captured(network, "triton", consume=False)
    short = captured(network, "triton", int8=True, consume=False)
    gaps, wholes = [], []
    for seed in range(context.runs(16)):
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(problem.noise.shape, generator=generator)
        other = Problem(problem.inputs, noise, problem.steps)
        wanted = sampled(plain, other)
        gaps.append((sampled(short, other) - wanted).abs().flatten())
        wholes.append(wanted.abs().max())
    largest, differences = float(torch.stack(wholes).max()), torch.cat(gaps)
    moved = {
        "max": float(differences.max()),
        "mean": float(differences.mean()),
        "largest_action": largest,
    }
    found = {"deviation": moved, **measured(context, short, problem, context.runs(300))}
    found |= fractions(context, config, problem, found, int8=True)
    wall = found["wall"]
    line = f"p50 {wall['median_ms']:.2f} ms, p99 {wall['p99_ms']:.2f} ms; actions move by at most "
    line += f"{moved['max']:.1e}, {moved['mean']:.1e} on average, of {largest:.2f} (random weights)"
    return {**found, "lines": [line]}


def best_form(context: Context) -> MixtureChoice:
    """Of the steps before; ``auto`` where none was measured."""
    times = [(f, context.before(f"engine adamoe_pi0 {f}").get("wall")) for f in FORMS]
    known = {form: wall["median_ms"] for form, wall in times if wall}
    if context.rehearse or not known:
        return "auto"
    return min(known, key=lambda form: known[form])


def batches(context: Context) -> dict[str, Any]:
    """Several robots at once, in the fastest form."""
    config, form = context.config("adamoe_pi0"), best_form(context)
    assert config is not None
    network, found, lines = context.network(config), {}, [f"form {form}"]
    for batch in (1, 2, 4, 8):
        problem = problem_of(context, config, batch)
        made = captured(network, form, batch, consume=False)
        one = measured(context, made, problem, context.runs(100))
        found[str(batch)] = one
        each = one["wall"]["median_ms"] / batch
        lines.append(f"batch {batch}: p50 {one['wall']['median_ms']:.2f} ms, {each:.2f} ms a robot")
        context.save({"form": form, "batches": found, "lines": lines})
        del made
    return {"form": form, "batches": found, "lines": lines}


def soak(context: Context) -> dict[str, Any]:
    """Until the time is used up: memory stays flat, actions are finite and the same to the bit."""
    config, form = context.config("adamoe_pi0"), best_form(context)
    assert config is not None
    network, problem = context.network(config), problem_of(context, config)
    made, times = captured(network, form), []
    wanted, early = sampled(made, problem), 0
    wrong = int(not torch.isfinite(wanted).all())
    until = time.monotonic() + (1.0 if context.rehearse else max(1.0, context.left() - 4.0))
    while time.monotonic() < until:
        begun = time.perf_counter()
        actions = sampled(made, problem)
        times.append(time.perf_counter() - begun)
        wrong += not torch.equal(actions, wanted)
        if len(times) == 100:
            early = device_memory(context.device)
    grown = device_memory(context.device) - early if len(times) > 100 else 0
    found: dict[str, Any] = {
        "form": form,
        "runs": len(times),
        "wall": summary(times),
        "wrong": wrong,
        "grown_bytes": grown,
    }
    wall = found["wall"]
    line = f"{len(times)} runs: p50 {wall['median_ms']:.2f}, p99 {wall['p99_ms']:.2f}, longest "
    line += f"{wall['max_ms']:.2f} ms; {wrong} wrong; device memory grew by {grown} B"
    context.save({**found, "lines": [line]})
    if wrong or grown:
        raise SystemExit(f"soak: {line}")
    return {**found, "lines": [line]}


def device_memory(device: torch.device) -> int:
    """Bytes of the device in use; 0 for a CPU."""
    if device.type != "cuda":
        return 0
    free, total = torch.cuda.mem_get_info(device)
    return int(total - free)


STEPS: dict[str, Callable[..., dict[str, Any]]] = {
    "environment": environment,
    "ceilings": device_ceilings,
    "tests": tests,
    "engine": engine,
    "peer": peer,
    "int8": int8,
    "batches": batches,
    "soak": soak,
}


def main() -> int:
    """Run one step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("arguments", nargs="*", help="of the step")
    parser.add_argument("--result", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--rehearse", action="store_true")
    options = parser.parse_args()
    end = time.monotonic() + options.seconds
    context = Context(options.rehearse, options.result, options.folder, end)
    context.save(STEPS[options.step](context, *options.arguments))
    return 0


if __name__ == "__main__":
    sys.exit(main())
