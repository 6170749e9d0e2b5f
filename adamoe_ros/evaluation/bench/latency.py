# SPDX-License-Identifier: Apache-2.0
"""``adamoe bench``: what is measured, the measurement as one dictionary for JSON, and its table."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from adamoe_ros.contract.errors import Problems
from adamoe_ros.evaluation.bench.timing import Clock, Work, interleaved, operations, summary
from adamoe_ros.evaluation.bench.workload import engine_stages, made_up_network, made_up_problem
from adamoe_ros.evaluation.machine import machine_record
from adamoe_ros.model.conditioning import SamplingOptions
from adamoe_ros.model.config import ModelConfig, preset
from adamoe_ros.policy.engines import AUTO, EngineSettings, make_engine
from adamoe_ros.policy.engines.eager import Engine

DTYPES = ("float32", "bfloat16")
STAGES = ("images", "vision", "encode", "step", "whole")
Report = Callable[[str], None]


@dataclass(frozen=True)
class BenchSettings:
    """What to measure.

    Attributes:
        preset: model sizes. depth: layers of vision, prefix and expert; 0: the preset's.
        vocab: rows of the token table; 0: the preset's. Fewer save memory and no time.
        engines: names; ``auto`` is this device's own.
        mixtures: forms of the mixture layer, each a candidate of its own; ``auto`` only: one.
        int8: 8-bit weights in the action expert's feed-forward layers.
        batch, views, prompt, steps: of the inference; 0: the model's.
        stages: which to measure. rounds: measured rounds per stage.
        threads: of the CPU; 0: one per core that this process may use.
        clock: ``wall``, or ``cpu`` for the process's CPU time.
    """

    preset: str = "adamoe_pi0"
    depth: int = 0
    vocab: int = 2048
    dtype: str = "bfloat16"
    device: str = "cpu"
    engines: tuple[str, ...] = ("eager", "auto")
    mixtures: tuple[str, ...] = ("auto",)
    int8: bool = False
    batch: int = 1
    views: int = 0
    prompt: int = 0
    steps: int = 0
    rounds: int = 5
    stages: tuple[str, ...] = STAGES
    threads: int = 0
    clock: Clock = "wall"

    def model(self) -> ModelConfig:
        """Sizes with the changes made."""
        config = preset(self.preset)
        changes: dict[str, int] = {}
        if self.depth:
            changes = {"prefix.depth": self.depth, "vision.depth": self.depth}
        if self.vocab and self.vocab < config.prefix.vocab:
            changes["prefix.vocab"] = self.vocab
        return config.changed(changes)

    def filled(self, config: ModelConfig) -> BenchSettings:
        """With the model's and this computer's numbers in place of 0.

        Raises:
            ContractError: what does not fit, all of it.
        """
        views, prompt = self.views or config.num_views, self.prompt or config.prompt_length
        problems = Problems()
        for name, value, most in (
            ("views", views, config.num_views),
            ("prompt", prompt, config.prompt_length),
        ):
            if not 1 <= value <= most:
                problems.add(f"bench --{name}", f"1 to {most}", value, "correct it")
        for name, low in (("rounds", 1), ("batch", 1), ("threads", 0), ("steps", 0)):
            if getattr(self, name) < low:
                got = getattr(self, name)
                problems.add(f"bench --{name}", f"at least {low}", got, "correct it")
        if self.dtype not in DTYPES:
            problems.add("bench --dtype", " or ".join(DTYPES), self.dtype, "correct it")
        if unknown := set(self.stages) - set(STAGES):
            problems.add("bench --stages", ", ".join(STAGES), sorted(unknown), "correct it")
        problems.raise_if_any()
        return replace(
            self,
            views=views,
            prompt=prompt,
            steps=self.steps or config.flow_steps,
            threads=self.threads or len(os.sched_getaffinity(0)),
        )


class Bench:
    """One network, one observation, and the candidates that take turns with them.

    Attributes:
        settings: with every number filled in.
        works: candidate -> stage -> one run of it; more may be added before ``run``.
        engines: those candidates that are engines of this package.

    Raises:
        ContractError: settings that cannot be measured here.
    """

    def __init__(self, settings: BenchSettings, report: Report) -> None:
        self.config = settings.model()
        self.settings = settings = settings.filled(self.config)
        torch.set_num_threads(settings.threads)
        self.device, self.dtype = torch.device(settings.device), getattr(torch, settings.dtype)
        self.report = report
        report(f"network of {settings.preset}, random weights")
        self.network = made_up_network(self.config, self.dtype, self.device)
        self.problem = made_up_problem(
            self.config, settings.batch, settings.views, settings.prompt, settings.steps
        )
        self.works: dict[str, dict[str, Work]] = {}
        self.engines: dict[str, Engine] = {}
        with torch.inference_mode():
            for name in settings.engines:
                self._add_engine(name)

    def _add_engine(self, name: str) -> None:
        settings = self.settings
        moe = self.config.moe.variant != "dense"
        own = name if name != "auto" else AUTO[self.device.type]
        for form in settings.mixtures if moe and name != "eager" else ("auto",):
            label = own if form == "auto" else f"{own} {form}"
            self.report(f"engine {label}")
            chosen = EngineSettings(
                mixture=form,  # type: ignore[arg-type]
                int8=settings.int8,
                consume=False,
                batches=(settings.batch,),
                views=(settings.views,),
                prompts=(settings.prompt,),
                steps=settings.steps,
            )
            self.engines[label] = make_engine(name, self.network, chosen)
            self.works[label] = engine_stages(self.engines[label], self.problem)

    def run(self) -> dict[str, Any]:
        """Measure every stage of every candidate."""
        with torch.inference_mode():
            stages = self._stages()
            whole = "whole" in self.settings.stages
            deviation = self._deviation() if whole else {}
            self.report("operations")
            counted = {
                name: operations(self.works[name]["whole"], self.device)
                for name in self.engines
                if whole
            }
        result: dict[str, Any] = {
            "settings": asdict(self.settings),
            "model": self.config.to_dict(),
            "machine": machine_record(self.device),
            "clock": "process CPU time" if self._cpu_time() else "wall",
            "stages": stages,
            "sum_ms": _sums(stages, self.settings.steps),
            "operations": counted,
            "deviation": deviation,
            "peak_device_bytes": {name: e.peak_memory() for name, e in self.engines.items()},
        }
        result["faster"] = ratios(result, ("eager",))
        if self.device.type == "cuda":
            result["device_stages_ms"] = self._device_stages()
        return result

    def _cpu_time(self) -> bool:
        return self.settings.clock == "cpu" and self.device.type == "cpu"

    def _stages(self) -> dict[str, dict[str, dict[str, float]]]:
        """Stage -> candidate -> summary."""
        found = {}
        for stage in (stage for stage in STAGES if stage in self.settings.stages):
            having = {name: parts[stage] for name, parts in self.works.items() if stage in parts}
            if having:
                self.report(f"stage {stage}")
                rounds = self.settings.rounds * (4 if stage in ("step", "images") else 1)
                times = interleaved(having, rounds, self.device, clock=self.settings.clock)
                found[stage] = {name: summary(values) for name, values in times.items()}
        return found

    def _deviation(self) -> dict[str, float]:
        """Largest difference of an action from the first engine's, relative to its largest action."""
        problem = self.problem
        actions = [
            engine.sample(
                problem.inputs, problem.noise, SamplingOptions(problem.steps)
            ).sample.actions
            for engine in self.engines.values()
        ]
        largest = float(actions[0].abs().max())
        gaps = [float((found - actions[0]).abs().max()) / largest for found in actions]
        return dict(zip(self.engines, gaps, strict=True))

    def _device_stages(self) -> dict[str, Any]:
        """Stage times by device events, medians of ten."""
        problem, out = self.problem, {}
        for name, engine in self.engines.items():
            rows = [
                engine.sample(problem.inputs, problem.noise, SamplingOptions(problem.steps)).stages
                for _ in range(10)
            ]
            out[name] = {k: sorted(row[k] for row in rows)[5] * 1e3 for k in rows[0]}
        return out


def _sums(stages: Mapping[str, Any], steps: int) -> dict[str, float]:
    """Candidate -> ms of encode + steps * step."""
    encode, step = stages.get("encode", {}), stages.get("step", {})
    return {
        name: encode[name]["median_ms"] + steps * step[name]["median_ms"]
        for name in encode
        if name in step
    }


def ratios(result: Mapping[str, Any], bases: tuple[str, ...]) -> dict[str, Any]:
    """``than <base>`` -> stage (or ``sum``) -> candidate -> how many times faster it is."""
    medians = {
        stage: {name: row["median_ms"] for name, row in rows.items()}
        for stage, rows in result["stages"].items()
    } | {"sum": result["sum_ms"]}
    found: dict[str, Any] = {}
    for base in bases:
        for stage, row in medians.items():
            if base in row:
                others = {name: row[base] / ms for name, ms in row.items() if name != base}
                found.setdefault(f"than {base}", {})[stage] = others
    return found


def table(result: Mapping[str, Any], floors: Mapping[str, float] | None = None) -> str:
    """The result for a person: stages by candidate, in ms.

    Args:
        floors: stage -> ms of a last row, ``roofline``.
    """
    settings = result["settings"]
    lines = [*_head(result), f"median {result['clock']} in ms", ""]
    medians = {
        stage: {name: row["median_ms"] for name, row in rows.items()}
        for stage, rows in result["stages"].items()
    }
    if result["sum_ms"]:
        medians[f"encode + {settings['steps']} steps"] = result["sum_ms"]
    names = list(dict.fromkeys(name for rows in medians.values() for name in rows))
    width = max(map(len, [*names, "roofline"]))
    head = "".join(f"{stage:>18}" for stage in medians)
    lines.append(f"{'':<{width}}{head}{'operations':>12}{'device GB':>11}")
    for name in names:
        cells = "".join(_cell(rows.get(name)) for rows in medians.values())
        count = result["operations"].get(name) or "-"
        peak = result["peak_device_bytes"].get(name, 0)
        memory = f"{peak / 1e9:.2f}" if peak else "-"
        lines.append(f"{name:<{width}}{cells}{count:>12}{memory:>11}")
    if floors:
        row = (floors.get("whole" if "+" in stage else stage) for stage in medians)
        lines.append(f"{'roofline':<{width}}" + "".join(map(_cell, row)))
    return "\n".join([*lines, *_ratio_lines(result, width), *_deviation_lines(result)])


def _head(result: Mapping[str, Any]) -> list[str]:
    settings, machine, model = result["settings"], result["machine"], result["model"]
    threads = "1 thread" if settings["threads"] == 1 else f"{settings['threads']} threads"
    where = machine["gpu"]["name"] if "gpu" in machine else f"{machine['cpu']}, {threads}"
    depth = f"depth {model['prefix']['depth']} (vision {model['vision']['depth']})"
    return [
        f"{settings['preset']}, {depth}, {settings['dtype']}, {settings['views']} views, "
        f"prompt {settings['prompt']}, {settings['steps']} steps, batch {settings['batch']}",
        f"{where}; torch {machine['packages']['torch']}; commit {machine['commit'] or 'unknown'}",
    ]


def _ratio_lines(result: Mapping[str, Any], width: int) -> list[str]:
    lines = []
    for base, by_stage in result["faster"].items():
        names = dict.fromkeys(name for ratios in by_stage.values() for name in ratios)
        lines += ["", f"times faster {base}"] if names else []
        for name in names:
            cells = (f"{s} {row[name]:.2f}" for s, row in by_stage.items() if name in row)
            lines.append(f"{name:<{width}}  {'  '.join(cells)}")
    return lines


def _deviation_lines(result: Mapping[str, Any]) -> list[str]:
    if len(result["deviation"]) < 2:
        return []
    (first, _), *others = result["deviation"].items()
    gaps = ", ".join(f"{name} {gap:.1e}" for name, gap in others)
    return ["", f"largest difference of an action from {first}: {gaps}"]


def _cell(value: float | None) -> str:
    return f"{'-':>18}" if value is None else f"{value:>18.2f}"
