#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the performance tables of README.md from the JSON files in benchmarks/results.

python benchmarks/readme_table.py            # write
python benchmarks/readme_table.py --check    # compare; exit 1 on a difference
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
_BLOCK = re.compile(r"(<!-- figures -->\n).*?(<!-- end -->)", re.DOTALL)


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.0f} ms"


def closed_loop(data: dict[str, Any]) -> list[tuple[str, str]]:
    """The demo over real nodes."""
    total, age = data["latency_s"]["total"], data["latency_s"]["stamp_to_chunk"]
    low, high = data["wilson_95"]
    memory = ", ".join(f"{name} {size}" for name, size in data["memory_mib"].items())
    tasks = ", ".join(
        f"{task} {own['successes']}/{own['episodes']}" for task, own in data["by_task"].items()
    )
    return [
        (
            "`make demo`'s four tasks by turns, one sentence changed, unseen seeds, real nodes",
            f"{data['successes']}/{data['episodes']} ({low:.0%} to {high:.0%}): {tasks}",
        ),
        ("inference p50 / p95 / p99", " / ".join(_ms(total[q]) for q in ("p50", "p95", "p99"))),
        (
            "camera stamp to chunk p50 / p95 / p99 (simulated time)",
            " / ".join(_ms(age[q]) for q in ("p50", "p95", "p99")),
        ),
        ("command rate while inferring", f"{data['command_rate_hz']:.1f} Hz of 50 Hz"),
        ("memory, MiB", memory),
    ]


def demo_policy(data: dict[str, Any]) -> list[tuple[str, str]]:
    """The shipped policy in one process: each task in every control, its dense twin beside it."""
    summary = data["policy"]["summary"]
    twin = data["dense_twin"]["summary"] if "dense_twin" in data else {}
    rows = []
    for task, counts in summary["plain"]["tasks"].items():
        rows.append(
            (f"{task}, unseen scenes, in one process", _beside(twin, "plain", task, counts))
        )
        followed = summary["wrong-sentence"]["tasks"][task]["followed"]
        if followed["episodes"]:
            rows.append(
                ("- given another instruction in that scene: does that one", _share(followed))
            )
        changed = summary["changed"]["tasks"][task]
        label = "- given another instruction first, this one 0.8 s later"
        rows.append((label, _beside(twin, "changed", task, changed)))
    rows.append(("all four with black pictures", _share(summary["blind"]["all"])))
    return rows


def _beside(twin: dict[str, Any], control: str, task: str, counts: dict[str, Any]) -> str:
    """A share, and the dense twin's."""
    if control not in twin:
        return _share(counts)
    return f"{_share(counts)}; dense twin {_share(twin[control]['tasks'][task])}"


def _share(counts: dict[str, Any]) -> str:
    low, high = counts["wilson_95"]
    return f"{counts['successes']}/{counts['episodes']} ({low:.0%} to {high:.0%})"


def frames(data: dict[str, Any]) -> list[tuple[str, str]]:
    """Delivered camera frames."""
    names = {True: "with our Fast DDS profile", False: "Fast DDS as it comes"}
    return [
        (
            f"three 640x480 cameras at 25 Hz, {names[result['fastdds_profile']]}",
            f"{result['share']:.1%} of frames delivered",
        )
        for result in data["results"]
    ]


def strategies(data: dict[str, Any]) -> list[tuple[str, str]]:
    """Chunk boundaries and success by strategy and injected delay."""
    names, rows = ("sync", "async", "rtc"), []
    for delay in ("0", "0.2"):
        cells = [data["cells"][f"{name}/{delay}"] for name in names]
        jumps = " / ".join(f"{c['position_jump']['mean'] * 1e3:.0f}" for c in cells)
        done = " / ".join(f"{c['successes']}/{c['episodes']}" for c in cells)
        label = f"{' / '.join(names)}, +{float(delay) * 1e3:.0f} ms injected"
        rows.append((f"jump at chunk boundaries, {label}", f"{jumps} mrad; success {done}"))
    return rows


def guidance(data: dict[str, Any]) -> list[tuple[str, str]]:
    """What real-time chunking costs."""
    added = [f"{data['added'][kind]['of_medians']:.0%}" for kind in ("identity", "vjp")]
    return [("guidance adds to an inference, identity / vjp", " / ".join(added))]


def control_jitter(data: dict[str, Any]) -> list[tuple[str, str]]:
    """Command stream beside a busy policy."""
    found = {result["part"]: result for result in data["results"]}
    rows = []
    for part, how in (
        ("100", "nothing else running"),
        ("100-nice", "both cores infer and stand back (`inference_nice: 10`)"),
        ("100-load", "both cores infer with the same priority"),
        ("100-fifo-load", "the same, SCHED_FIFO"),
    ):
        result = found[part]
        text = f"{result['jitter_p99_ms']:.2f} / {result['jitter_p999_ms']:.2f} ms"
        text += f", {result['missed_share']:.2%}, {result['cancel_to_hold']['p99_ms']:.1f} ms"
        rows.append(
            (f"100 Hz commands, {how}: jitter p99 / p99.9, ticks missed, cancel to hold p99", text)
        )
    return rows


def engine_cpu(data: dict[str, Any]) -> list[tuple[str, str]]:
    """The CPU engine beside transformers' PI0 with the same weights, one thread."""
    rows = []
    for dtype in ("float32", "bfloat16"):
        full = data[f"dense {dtype}"]["faster_at_full_depth"]
        text = f"{full['step']:.2f}x / {full['whole']:.2f}x"
        rows.append((f"dense pi0 against transformers, {dtype}: flow step / whole", text))
        faster = data[f"mixture {dtype}"]["faster"]["than eager all-experts"]["step"]
        label = f"AdaMoE step against computing every expert, {dtype}"
        rows.append((label, f"{faster['packed sparse']:.2f}x"))
        if newer := data.get(f"pi0.5 {dtype}"):
            full = newer["faster_at_full_depth"]
            text = f"{full['step']:.2f}x / {full['whole']:.2f}x"
            rows.append((f"dense pi0.5 against LeRobot, {dtype}: flow step / whole", text))
    return rows


def ingest(data: dict[str, Any]) -> list[tuple[str, str]]:
    """Pictures to the model's size."""
    return [("three 640x480 frames to 224x224, share of PIL's time", f"{data['share_of_pil']:.0%}")]


def replay(data: dict[str, Any]) -> list[tuple[str, str]]:
    """Bags without inference."""
    found = data["figures"]["pictures where an inference looks"]
    return [("replay of three JPEG cameras at 30 Hz", f"{found['times_real_time']:.0f}x real time")]


def dataset(data: dict[str, Any]) -> list[tuple[str, str]]:
    """Bags to a LeRobot dataset."""
    found = data["figures"]["all cores"]
    return [("bags to LeRobot dataset, both cores", f"{found['times_real_time']:.1f}x real time")]


def policy_inputs(data: dict[str, Any]) -> list[tuple[str, str]]:
    """What the inputs cost policy_node while it waits."""
    now, before = (
        next(
            run
            for run in data["results"]
            if (run["joint_states_hz"], run["cameras_hz"]) == (100.0, 30.0)
            and (run["policy_node_of"] == "this checkout") is here
        )
        for here in (True, False)
    )
    lost = now["lost_joint_states"] + now["lost_pictures"]
    label = "policy_node waiting, 2 x 100 Hz joint states, 3 x 30 Hz cameras: share of a core"
    shares = (run["cpu_share_policy_node"] for run in (now, before))
    return [
        (label, "{:.0%} ({:.0%} in rclpy's executor)".format(*shares) + f", {lost} messages lost")
    ]


def training(data: dict[str, Any]) -> list[tuple[str, str]]:
    """A training step beside transformers'."""
    label = "training step against transformers' PI0 with AdamW, reduced sizes, float32, CPU time"
    return [(label, f"{data['times_as_fast']:.2f}x, {data['share_of_memory']:.0%} of the memory")]


def gpu(data: dict[str, Any]) -> list[tuple[str, str]]:
    """A run of ``tools/gpu_check.sh``: what was done, nothing of what was not."""
    done = {n: r["result"] for n, r in data["steps"].items() if r["status"] == "done"}
    name, rows = done["environment"]["device"], []
    for step, title in (
        *((f"engine adamoe_pi0 {form}", f"AdaMoE pi0, {form}") for form in ("wide", "grouped", "triton")),
        ("engine pi0 auto", "dense pi0"), ("engine pi05 auto", "dense pi0.5"),
        ("engine adamoe_pi05 auto", "AdaMoE pi0.5"), ("int8", "AdaMoE pi0, 8-bit weights"),
    ):  # fmt: skip
        if step in done:
            wall, share = (
                done[step]["wall"],
                done[step].get("fraction_of_ceilings", {}).get("whole"),
            )
            text = f"{wall['median_ms']:.1f} / {wall['p99_ms']:.1f} ms"
            text += f", {share:.0%} of the ceilings" if share else ""
            rows.append((f"{title}, bfloat16, 3 views, 10 steps, on {name}: p50 / p99", text))
    if "peer" in done and "ours_is_faster" in done["peer"]:
        rows.append(
            (f"dense pi0 against transformers on {name}", f"{done['peer']['ours_is_faster']:.1f}x")
        )
    return rows


def kernels(data: dict[str, Any]) -> list[tuple[str, str]]:
    """Mixture kernels that were compiled and never run."""
    rows = data["kernels"]
    most = {key: max(row[key] for row in rows) for key in ("registers", "shared", "spills")}
    chips = ", ".join(dict.fromkeys(row["chip"] for row in rows))
    text = f"{len(rows)} compiled, none run; at most {most['registers']} of 255 registers, "
    text += f"{most['shared'] / 1024:.0f} KiB shared memory, {most['spills']} spills"
    return [(f"mixture kernels for {chips}", text)]


SECTIONS: dict[str, Callable[[dict[str, Any]], list[tuple[str, str]]]] = {
    "closed_loop": closed_loop,
    "demo_policy": demo_policy,
    "policy_inputs": policy_inputs,
    "frames": frames,
    "control_jitter": control_jitter,
    "strategies": strategies,
    "guidance": guidance,
    "engine_cpu": engine_cpu,
    "engine_cpu_epyc": engine_cpu,
    "kernels": kernels,
    "ingest": ingest,
    "replay": replay,
    "dataset": dataset,
    "training": training,
}
# where the script has another name than its results
SCRIPTS = {"engine_cpu_epyc": "bench_engine_cpu.py", "kernels": "compile_kernels.py"}


def measured_on(data: dict[str, Any]) -> dict[str, Any]:
    """Machine of a result file; where its parts note theirs, the first with the commits of all."""
    if "machine" in data:
        return dict(data["machine"])
    found = list(_machines(data)) or [data]
    return {**found[0], "commit": ", ".join(dict.fromkeys(part["commit"] for part in found))}


def _machines(data: Any) -> Iterator[dict[str, Any]]:
    if isinstance(data, dict) and "machine" in data:
        yield data["machine"]
    elif isinstance(data, (dict, list)):
        for part in data.values() if isinstance(data, dict) else data:
            yield from _machines(part)


def table() -> str:
    """Rows of every result file, each with the machine and commit it was measured on."""
    lines = ["| what | figure | script, machine, commit |", "|---|---|---|"]
    for name, rows in SECTIONS.items():
        data = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
        machine = measured_on(data)
        script = SCRIPTS.get(name, f"bench_{name}.py")
        where = f"[`{script}`](benchmarks/{script}), {machine['cpu']}"
        where += f", {machine['cores']} cores, {machine['commit']}"
        lines += [f"| {what} | {figure} | {where} |" for what, figure in rows(data)]
    lines += gpu_lines()
    return "\n".join(lines) + "\n"


def gpu_lines() -> list[str]:
    """Rows of the runs on GPUs; one that says so where there is none."""
    link, lines = "[`gpu_check.sh`](tools/gpu_check.sh)", []
    for path in sorted(RESULTS.glob("gpu_*.json")):
        data = json.loads(path.read_text(encoding="utf-8"))
        commit = data["steps"]["environment"]["result"]["machine"]["commit"] or "unknown commit"
        lines += [f"| {what} | {figure} | {link}, {commit} |" for what, figure in gpu(data)]
    what = "AdaMoE pi0 and dense pi0 on a GPU ([on paper](doc/gpu_budget.md))"
    return lines or [f"| {what} | not run: no GPU was at hand | {link} |"]


def filled(text: str) -> str:
    """The page with its block ``<!-- figures -->`` ... ``<!-- end -->`` filled anew."""
    return _BLOCK.sub(lambda match: match[1] + table() + match[2], text)


def main() -> int:
    """Write or compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only")
    options = parser.parse_args()
    page = ROOT / "README.md"
    text = page.read_text(encoding="utf-8")
    new = filled(text)
    if options.check and new != text:
        print("README.md: figures are not those of benchmarks/results; run this script")
        return 1
    page.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
