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
collect_ignore = [] if PYTHON.is_file() else ["test_lerobot.py", "test_lerobot_policy.py"]
collect_ignore += [] if CLIENTS.is_file() else ["test_clients.py"]
collect_ignore += [] if LINTERS.is_file() else ["test_linters.py"]


def entries(variable: str, name: str, **head: Any) -> Iterator[dict[str, Any]]:
    """What tests put in; a JSON file, named by a variable, when every test of the session ran."""
    found: dict[str, Any] = {}
    yield found
    target = os.environ.get(variable)
    if target:
        text = json.dumps({**head, name: found}, indent=1, ensure_ascii=False)
        Path(target).write_text(text + "\n", encoding="utf-8")


@pytest.fixture(scope="session")
def report() -> Iterator[dict[str, Any]]:
    """What was compared."""
    yield from entries("CONFORMANCE_REPORT", "compared", judge="lerobot 0.6.1")


@pytest.fixture(scope="session")
def client_report() -> Iterator[dict[str, Any]]:
    """What other projects' clients got."""
    yield from entries("CLIENTS_REPORT", "clients")


@pytest.fixture(scope="session")
def linter_report() -> Iterator[dict[str, Any]]:
    """What each linter and we find first in broken datasets."""
    yield from entries("LINTERS_REPORT", "first finding")
