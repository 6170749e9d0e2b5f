# SPDX-License-Identifier: Apache-2.0
"""Only where ``make conformance`` (``-clients``, ``-linters``) has built the others' environments."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-lerobot" / "bin" / "python"
CLIENTS = ROOT / ".venv-clients" / "xpolicylab" / "bin" / "python"
LINTERS = ROOT / ".venv-linters" / "bin" / "python"
collect_ignore = [] if PYTHON.is_file() else ["test_lerobot.py"]
collect_ignore += [] if CLIENTS.is_file() else ["test_clients.py"]
collect_ignore += [] if LINTERS.is_file() else ["test_linters.py"]


@pytest.fixture(scope="session")
def report() -> Iterator[dict[str, Any]]:
    """What was compared; written to $CONFORMANCE_REPORT when every test of the session ran."""
    entries: dict[str, Any] = {}
    yield entries
    target = os.environ.get("CONFORMANCE_REPORT")
    if target:
        document = {"judge": "lerobot 0.6.1", "compared": entries}
        Path(target).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


@pytest.fixture(scope="session")
def client_report() -> Iterator[dict[str, Any]]:
    """What other projects' clients got; written to $CLIENTS_REPORT."""
    entries: dict[str, Any] = {}
    yield entries
    target = os.environ.get("CLIENTS_REPORT")
    if target:
        Path(target).write_text(json.dumps({"clients": entries}, indent=1) + "\n", encoding="utf-8")


@pytest.fixture(scope="session")
def linter_report() -> Iterator[dict[str, Any]]:
    """What each linter and we find first in broken datasets; written to $LINTERS_REPORT."""
    entries: dict[str, Any] = {}
    yield entries
    target = os.environ.get("LINTERS_REPORT")
    if target:
        text = json.dumps({"first finding": entries}, indent=1, ensure_ascii=False)
        Path(target).write_text(text + "\n", encoding="utf-8")
