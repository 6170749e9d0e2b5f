# SPDX-License-Identifier: Apache-2.0
"""What every benchmark writes: figures as JSON, beside the machine that they were measured on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from adamoe_ros.evaluation.machine import machine_record as machine

__all__ = ["RESULTS", "ROOT", "machine", "write"]
ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def write(path: Path, document: dict[str, Any]) -> None:
    """Write the figures as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(f"written: {path}")
