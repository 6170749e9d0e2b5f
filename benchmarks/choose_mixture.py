#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Takes the fastest form of the mixture layer over from a run of ``tools/gpu_check.sh``.

    python benchmarks/choose_mixture.py out/gpu/gpu_check.json

copies the run to ``benchmarks/results/gpu_<capability>.json`` and writes its choice for that compute
capability into ``adamoe_ros/policy/engines/mixtures.json``, with where it comes from. A rehearsal, a
run without two measured forms, and a form whose actions are not the eager network's choose nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from common import RESULTS, ROOT

MIXTURES = ROOT / "adamoe_ros" / "policy" / "engines" / "mixtures.json"
FORMS = ("wide", "grouped", "triton")
# bfloat16 rounding over ten steps, with pictures that two resizers round to whole grey levels
MOST_DEVIATION = 0.05


def figures(run: dict[str, Any]) -> dict[str, float]:
    """Form -> p50 in ms, of the forms that were measured and compute the right actions."""
    found = {}
    for form in FORMS:
        record = run["steps"].get(f"engine adamoe_pi0 {form}", {})
        result = record.get("result", {})
        if record.get("status") == "done" and result["deviation_from_eager"] < MOST_DEVIATION:
            found[form] = result["wall"]["median_ms"]
    return found


def choice(run: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Compute capability, and its row.

    Raises:
        SystemExit: the run chooses nothing.
    """
    if run["rehearsal"]:
        raise SystemExit("choose_mixture: expected a run on a GPU, got a rehearsal; run it on one")
    machine = run["steps"]["environment"].get("result", {}).get("machine", {})
    times = figures(run)
    if "gpu" not in machine or len(times) < 2:
        got = f"{len(times)} ({', '.join(times) or 'none'})"
        raise SystemExit(
            f"choose_mixture: expected a GPU and two measured forms, got {got}; run it again"
        )
    gpu = machine["gpu"]
    row = {
        "gpu": gpu["name"],
        "mixture": min(times, key=lambda form: times[form]),
        "measured": {
            "run": f"benchmarks/results/gpu_{gpu['capability']}.json",
            "p50_ms": times,
            "commit": machine["commit"],
            "date": machine["date"],
        },
    }
    return gpu["capability"], row


def lines_of(rows: dict[str, Any]) -> str:
    """One row a line."""
    return "{\n" + ",\n".join(f' "{k}": {json.dumps(row)}' for k, row in rows.items()) + "\n}\n"


def main(arguments: list[str] | None = None) -> int:
    """Copy and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="gpu_check.json of a run")
    parser.add_argument("--mixtures", type=Path, default=MIXTURES)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    run = json.loads(options.run.read_text(encoding="utf-8"))
    capability, row = choice(run)
    rows = json.loads(options.mixtures.read_text(encoding="utf-8"))
    rows[capability] = row
    copy = options.results / f"gpu_{capability}.json"
    copy.write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
    options.mixtures.write_text(lines_of(rows), encoding="utf-8")
    print(f"{capability}: {row['mixture']} of {row['measured']['p50_ms']}; {copy} written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
