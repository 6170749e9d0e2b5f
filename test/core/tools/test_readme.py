# SPDX-License-Identifier: Apache-2.0
"""README: figures are those of the result files, and every file, command and link it names exists."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from adamoe_ros.cli.main import COMMANDS

ROOT = Path(__file__).resolve().parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "doc").rglob("*.md"))]
PATH = re.compile(r"`((?:adamoe_ros|benchmarks|config|doc|launch|msg|test|tools)/[\w./-]+)`")
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


@pytest.mark.parametrize("name", ["readme_table.py", "gpu_budget.py"])
def test_figures_are_those_that_a_script_writes(name: str) -> None:
    script = ROOT / "benchmarks" / name
    done = subprocess.run(
        [sys.executable, str(script), "--check"], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    missing = [name for name in PATH.findall(text) if not list(ROOT.glob(name.rstrip("/") + "*"))]
    missing += [name for name in LINK.findall(text) if not (page.parent / name).exists()]
    assert missing == []


def test_commands_of_the_readme_exist() -> None:
    named = set(re.findall(r"adamoe ([a-z]+)\b", README)) - {"on"}
    assert named <= set(COMMANDS)
    assert {"demo", "doctor", "train", "evaluate"} <= named
