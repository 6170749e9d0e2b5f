# SPDX-License-Identifier: Apache-2.0
"""A bench result as text for people."""

from __future__ import annotations

from typing import Any


def table(result: dict[str, Any]) -> str:
    """Stages by candidate, in ms, with the roofline's floor and the speed against the others."""
    settings, machine, roofline = result["settings"], result["machine"], result["roofline"]
    where = machine.get("gpu", {}).get("name") or f"{machine['cpu']}, {settings['threads']} thread"
    lines = [
        f"{settings['preset']}, {_depth(result)}, {settings['dtype']}, {settings['views']} views, "
        f"prompt {settings['prompt']}, {settings['steps']} steps, batch {settings['batch']}",
        f"{where}; torch {machine['torch']}; commit {machine['commit']}",
        f"measured ceilings: copy {roofline['copy_bytes_per_s'] / 1e9:.1f} GB/s, "
        f"product {roofline['product_flops'] / 1e12:.3f} TFLOP/s",
        f"median {result['clock']} in ms",
        "",
    ]
    stages = dict(result["stages"])
    names = list(dict.fromkeys(name for rows in stages.values() for name in rows))
    medians = {s: {n: r["median_ms"] for n, r in rows.items()} for s, rows in stages.items()}
    if result["sum_ms"]:
        medians[f"encode + {settings['steps']} steps"] = result["sum_ms"]
    width = max(map(len, names))
    head = "".join(f"{stage:>18}" for stage in medians)
    lines.append(f"{'':<{width}}{head}{'operations':>12}{'device GB':>11}")
    for name in names:
        cells = "".join(_cell(rows.get(name)) for rows in medians.values())
        count = result["operations"].get(name)
        peak = result["peak_device_bytes"].get(name, 0)
        lines.append(
            f"{name:<{width}}{cells}{count if count else '-':>12}"
            f"{f'{peak / 1e9:.2f}' if peak else '-':>11}"
        )
    floors = roofline["floor_ms"]
    sums = {
        stage: floors.get(stage, floors["whole"] if "+" in stage else None) for stage in medians
    }
    lines.append(f"{'roofline':<{width}}" + "".join(_cell(sums[stage]) for stage in medians))
    for base, by_stage in result["faster"].items():
        lines += ["", f"times faster {base}"]
        for name in names:
            if any(name in ratios for ratios in by_stage.values()):
                cells = "  ".join(
                    f"{stage} {ratios[name]:.2f}" for stage, ratios in by_stage.items()
                    if name in ratios
                )  # fmt: skip
                lines.append(f"{name:<{width}}  {cells}")
    if len(result["deviation"]) > 1:
        first, *others = result["deviation"].items()
        told = ", ".join(f"{name} {gap:.1e}" for name, gap in others)
        lines += ["", f"largest difference of an action from {first[0]}: {told}"]
    lines += ["", *(f"left out: {reason}" for reason in result["peers_left_out"].values())]
    if "soak" in result:
        soak = result["soak"]
        lines += [
            "",
            f"{soak['inferences']} inferences: host memory {soak['host_growth_bytes']:+d} B, "
            f"device {soak['device_growth_bytes']:+d} B, p50 {soak['wall']['median_ms']:.2f} ms, "
            f"p99 {soak['wall']['p99_ms']:.2f} ms (wall)",
        ]
    return "\n".join(lines)


def _depth(result: dict[str, Any]) -> str:
    model = result["model"]
    return f"depth {model['prefix']['depth']} (vision {model['vision']['depth']})"


def _cell(value: float | None) -> str:
    return f"{'-':>18}" if value is None else f"{value:>18.2f}"
