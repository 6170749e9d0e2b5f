# SPDX-License-Identifier: Apache-2.0
"""Pydantic's findings as lines for a person: where, expected, got, what to do."""

from __future__ import annotations

from pydantic import ValidationError

from adamoe_ros.contract.errors import problem

_WHAT_TO_DO = {
    "extra_forbidden": ("a known key", "remove it or correct its spelling"),
    "missing": ("a value", "add it"),
}


def validation_lines(where: str, error: ValidationError) -> list[str]:
    """Every finding of a failed validation, one line each.

    Args:
        where: file or section that was read; put before each key.
    """
    lines = []
    findings = error.errors()
    for finding in findings:
        place = finding["loc"]
        inner = (other["loc"] for other in findings if len(other["loc"]) > len(place))
        if finding["type"] == "too_short" and any(loc[: len(place)] == place for loc in inner):
            continue  # pydantic counts only valid items: what is wrong with the others is said
        key = ".".join(str(part) for part in finding["loc"]) or "(top level)"
        kind = finding["type"]
        if kind == "missing":
            got: object = "nothing"
        elif kind == "extra_forbidden":
            got = f"unknown key {finding['loc'][-1]!r}"
        else:
            got = repr(finding["input"])[:80]
        expected, do = _WHAT_TO_DO.get(kind, (_expectation(finding["msg"]), "correct the value"))
        lines.append(problem(f"{where}: {key}", expected, got, do))
    return lines


def _expectation(message: str) -> str:
    """Pydantic's sentence as the object of 'expected'."""
    for start in ("Value error, ", "Input should be ", "Assertion failed, "):
        if message.startswith(start):
            return message[len(start) :]
    return message[:1].lower() + message[1:]
