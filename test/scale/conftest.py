# SPDX-License-Identifier: Apache-2.0
"""Only where ``make scale`` has built ``.venv-ray``, with whose Python these tests run."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adamoe_ros.evaluation.machine import machine_record

RAY = Path(sys.prefix).name == ".venv-ray"
collect_ignore = [] if RAY else ["test_ray.py", "test_torchrun.py"]


@pytest.fixture(scope="session")
def report() -> Iterator[dict[str, Any]]:
    """Figures of every trial, written to $SCALE_REPORT; those of trials that did not run now stay there.

    Each has its own commit, minutes and load average, since a shared machine may take them in pieces.
    """
    entries: dict[str, Any] = {}
    begun = time.monotonic()
    yield entries
    target = os.environ.get("SCALE_REPORT")
    if target and entries:
        path, machine = Path(target), machine_record()
        about = {
            "commit": machine["commit"],
            "session_minutes": round((time.monotonic() - begun) / 60, 1),
            "session_load_average": [round(load, 1) for load in os.getloadavg()],
        }
        kept = json.loads(path.read_text())["trials"] if path.is_file() else {}
        trials = kept | {name: about | found for name, found in entries.items()}
        document = {"machine": machine, "trials": trials}
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
