# SPDX-License-Identifier: Apache-2.0
"""Which code a figure was measured with. Standard library only."""

from __future__ import annotations

import subprocess
from pathlib import Path

_PACKAGE = Path(__file__).parents[2]


def commit() -> str:
    """Of the checkout that this runs from, with ``+`` where the package differs; empty if installed."""
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".")
    return _git("rev-parse", "--short", "HEAD") + ("+" if changed else "")


def _git(*words: str) -> str:
    done = subprocess.run(
        ["git", *words], cwd=_PACKAGE, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()
