# SPDX-License-Identifier: Apache-2.0
"""Only where ``make conformance`` has built LeRobot's environment; its report goes where it says."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-lerobot" / "bin" / "python"
collect_ignore_glob = [] if PYTHON.is_file() else ["test_*.py"]


@pytest.fixture(scope="session")
def report() -> Iterator[dict[str, Any]]:
    """What was compared; written to $CONFORMANCE_REPORT when every test of the session ran."""
    entries: dict[str, Any] = {}
    yield entries
    target = os.environ.get("CONFORMANCE_REPORT")
    if target:
        document = {"judge": "lerobot 0.6.1", "compared": entries}
        Path(target).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
