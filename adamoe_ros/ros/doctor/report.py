# SPDX-License-Identifier: Apache-2.0
"""Findings of the doctor, for people and for machines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

Outcome = Literal["ok", "warn", "fail", "unchecked"]
_MARKS: dict[Outcome, str] = {"ok": " ok ", "warn": "warn", "fail": "FAIL", "unchecked": " -- "}


@dataclass(frozen=True)
class Check:
    """One finding.

    Attributes:
        area: environment, machine, profile, checkpoint, robot.
        name: what was looked at, e.g. a topic.
        outcome: "unchecked" says why in ``text``; it never counts as passed.
        text: what was found; where it is not ok, also what to change.
        values: figures, unit in the key.
    """

    area: str
    name: str
    outcome: Outcome
    text: str
    values: Mapping[str, object] = field(default_factory=dict)


class Report:
    """Collects checks in order."""

    def __init__(self) -> None:
        self.checks: list[Check] = []

    def add(
        self, area: str, name: str, outcome: Outcome, text: str, values: Mapping[str, object] = {}
    ) -> None:
        """Note one finding."""
        self.checks.append(Check(area, name, outcome, text, dict(values)))

    def extend(self, checks: Iterable[Check]) -> None:
        """Take over findings made elsewhere."""
        self.checks.extend(checks)

    def count(self, outcome: Outcome) -> int:
        """Number of checks with an outcome."""
        return sum(check.outcome == outcome for check in self.checks)

    @property
    def exit_code(self) -> int:
        """1 when something fails, else 0; warnings and unchecked points are told, not counted."""
        return 1 if self.count("fail") else 0

    def text(self) -> str:
        """Lines for a terminal, grouped by area, with a summary at the end."""
        lines: list[str] = []
        area = ""
        for check in self.checks:
            if check.area != area:
                area = check.area
                lines += ["", area]
            lines.append(f"  [{_MARKS[check.outcome]}] {check.name}: {check.text}")
        counts = ", ".join(
            f"{self.count(outcome)} {outcome}" for outcome in ("ok", "warn", "fail", "unchecked")
        )
        return "\n".join([*lines, "", counts]).lstrip("\n")

    def json(self) -> str:
        """Everything, for machines."""
        counts = {key: self.count(key) for key in _MARKS}
        checks = [asdict(check) for check in self.checks]
        document = {"exit_code": self.exit_code, "counts": counts, "checks": checks}
        return json.dumps(document, indent=1, default=str) + "\n"
