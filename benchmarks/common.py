# SPDX-License-Identifier: Apache-2.0
"""What every benchmark writes: figures as JSON, beside the machine that they were measured on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from adamoe_ros.evaluation.machine import machine_record as machine

__all__ = ["RESULTS", "ROOT", "machine", "table", "with_block", "write"]
ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def write(path: Path, document: dict[str, Any]) -> None:
    """Write the figures as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(f"written: {path}")


def table(head: str, rows: Iterable[Sequence[object]]) -> str:
    """Markdown; the head's columns are parted by ``|``, cells are shown as they are."""
    columns = [name.strip() for name in head.split("|")]
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def with_block(page: str, name: str, block: str) -> str:
    """A page with what is between ``<!-- name -->`` and the next ``<!-- end -->`` replaced."""
    before, rest = page.split(f"<!-- {name} -->\n")
    return f"{before}<!-- {name} -->\n{block}\n<!-- end -->{rest.split('<!-- end -->', 1)[1]}"
