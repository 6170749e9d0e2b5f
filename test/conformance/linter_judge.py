# SPDX-License-Identifier: Apache-2.0
"""Runs the public dataset linters on folders, in their own environment: linter_judge.py OUT FOLDER...

OUT gets, by folder's name and linter, every message of a warning or worse; numbers are kept.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"


def doctor(folder: Path) -> Iterator[str]:
    from lerobot_doctor.dataset_loader import load_dataset
    from lerobot_doctor.runner import Severity, run_checks

    for result in run_checks(load_dataset(str(folder))).results:
        for message in result.messages:
            if message.severity != Severity.PASS:
                yield f"{result.name}: {message.message}"


def robovet(folder: Path) -> Iterator[str]:
    from robovet.checks import run_doctor
    from robovet.checks.base import Severity
    from robovet.dataset import load_dataset

    for result in run_doctor(load_dataset(folder)).results:
        if result.severity >= Severity.WARN:
            yield f"{result.check_id}: {result.summary}"


def rdq(folder: Path) -> Iterator[str]:
    from rdq.checks import CRITICAL, WARNING, run_checks
    from rdq.dataset import load_dataset

    for finding in run_checks(load_dataset(folder)):
        if finding.severity in (CRITICAL, WARNING):
            yield f"{finding.check}: {finding.message}"


def deepen(folder: Path) -> Iterator[str]:
    from deepen_grade.grading import grade_dataset
    from deepen_grade.ingest import load_dataset

    for result in grade_dataset(load_dataset(str(folder))).all_results():
        if result.severity.value.lower() in ("warn", "fail"):
            yield f"{result.check_id}: {result.summary}"


LINTERS: dict[str, Callable[[Path], Iterator[str]]] = {
    "lerobot-doctor": doctor,
    "robovet": robovet,
    "rdq": rdq,
    "deepen-grade": deepen,
}


def judged(linter: Callable[[Path], Iterator[str]], folder: Path) -> list[str]:
    """What a linter says; one that cannot read the folder has found that."""
    try:
        return list(linter(folder))
    except (Exception, SystemExit) as error:  # they have no error of their own
        return [f"cannot be read: {type(error).__name__}: {error}"[:300]]


def main() -> None:
    """Every folder by every linter."""
    out, *folders = map(Path, sys.argv[1:])
    found = {
        folder.name: {name: judged(linter, folder) for name, linter in LINTERS.items()}
        for folder in folders
    }
    out.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
