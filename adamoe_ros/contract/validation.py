# SPDX-License-Identifier: Apache-2.0
"""Pydantic's findings as lines for a person: where, expected, got, what to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from adamoe_ros.contract.errors import problem

_WHAT_TO_DO = {
    "extra_forbidden": ("a known key", "remove it or correct its spelling"),
    "missing": ("a value", "add it"),
}


def validation_lines(where: str, error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Every finding of a failed validation, one line each.

    Args:
        where: file or section that was read; put before each key.
        model: that was validated; a mistyped key is compared with its fields.
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
        if kind == "extra_forbidden":
            near = get_close_matches(str(place[-1]), _fields(model, place[:-1]), 1)
            do = f"did you mean {near[0]!r}?" if near else do
        lines.append(problem(f"{where}: {key}", expected, got, do))
    return lines


def _fields(model: type[BaseModel], place: Iterable[int | str]) -> list[str]:
    """Keys of the section at this place of a document."""
    kinds: list[Any] = [model]
    for part in place:
        kinds = [inner for kind in kinds for inner in _inside(kind, part)]
    return [
        name
        for kind in kinds
        for member in (kind, *get_args(kind))
        if isinstance(member, type) and issubclass(member, BaseModel)
        for name in member.model_fields
    ]


def _inside(kind: Any, part: int | str) -> list[Any]:
    """Types that a part of a place can have: of a model's field, a mapping's or a list's values."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        field = kind.model_fields.get(str(part))
        return [field.annotation] if field else [kind] if kind.__name__ == part else []
    origin, members = get_origin(kind), get_args(kind)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return [members[1]]
    if isinstance(origin, type) and issubclass(origin, Iterable):
        return [members[0]]
    return [inner for member in members for inner in _inside(member, part)]


def _expectation(message: str) -> str:
    """Pydantic's sentence as the object of 'expected'."""
    for start in ("Value error, ", "Input should be ", "Assertion failed, "):
        if message.startswith(start):
            return message[len(start) :]
    return message[:1].lower() + message[1:]
