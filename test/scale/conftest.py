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
    """Figures of every trial; written to $SCALE_REPORT when all of the session have run."""
    entries: dict[str, Any] = {}
    begun = time.monotonic()
    yield entries
    target = os.environ.get("SCALE_REPORT")
    if target:
        load = {
            "load_average": os.getloadavg(),
            "minutes": round((time.monotonic() - begun) / 60, 1),
        }
        document = {"machine": machine_record() | load, "trials": entries}
        Path(target).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
