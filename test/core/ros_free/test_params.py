# SPDX-License-Identifier: Apache-2.0
"""The parameter machinery without ROS: conversion, bounds, every problem at once, rendering."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import yaml

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.contract.parameters import Parameters, markdown_table, param, yaml_text


@dataclass(frozen=True)
class Example(Parameters):
    """One parameter of each type."""

    rate: float = param(100.0, "Command rate.", unit="Hz", bounds=(1.0, 500.0), dynamic=True)
    count: int = param(3, "Some count.", bounds=(0, 9))
    mode: str = param("a", "Way of working.", choices=("a", "b"))
    shadow: bool = param(False, "Move nothing.")
    names: tuple[str, ...] = param((), "Some names.")
    gains: tuple[float, ...] = param((1.0, 2.5), "Some gains.", bounds=(0.0, 5.0))

    def conflicts(self) -> list[str]:
        return ["mode b needs shadow"] if self.mode == "b" and not self.shadow else []


def lines_of(values: dict[str, object]) -> tuple[str, ...]:
    with pytest.raises(ContractError) as caught:
        Example.from_values(values)
    return caught.value.problems


def test_values_replace_defaults_and_keep_their_type() -> None:
    made = Example.from_values({"rate": 50, "names": ["x"], "gains": [1, 2]})
    assert made == Example(rate=50.0, names=("x",), gains=(1.0, 2.0))
    assert isinstance(made.rate, float)
    assert all(isinstance(gain, float) for gain in made.gains)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("rate", math.nan, "a finite number, got nan"),
        ("rate", math.inf, "a finite number, got inf"),
        ("rate", 500.1, "a value in 1 ... 500 Hz, got 500.1"),
        ("rate", "fast", "a number, got 'fast'"),
        ("rate", True, "a number, got True"),
        ("count", 1.0, "a whole number, got 1.0"),
        ("count", -1, "a value in 0 ... 9, got -1"),
        ("mode", "c", "one of a | b, got 'c'"),
        ("shadow", 1, "a true or false, got 1"),
        ("names", [1], "a list of texts, got [1]"),
        ("gains", [1.0, 9.0], "a value in 0 ... 5, got 9.0"),
        ("ratte", 1.0, "one of rate, count, mode, shadow, names, gains, got an unknown name"),
    ],
)
def test_what_does_not_fit_is_one_line(name: str, value: object, expected: str) -> None:
    (line,) = lines_of({name: value})
    assert line.startswith(f"parameter {name}: expected ")
    assert expected in line
    assert line.count("\n") == 0


def test_all_problems_come_at_once() -> None:
    assert len(lines_of({"rate": math.nan, "mode": "c", "unknown": 1, "count": 2})) == 3


def test_conflicts_between_values_are_found_last() -> None:
    assert lines_of({"mode": "b"}) == ("mode b needs shadow",)
    assert Example.from_values({"mode": "b", "shadow": True}).mode == "b"


def test_changed_checks_as_from_values_does() -> None:
    assert Example().changed({"rate": 7}).rate == 7.0
    with pytest.raises(ContractError):
        Example().changed({"rate": 0.5})


def test_yaml_holds_every_default() -> None:
    document = yaml.safe_load(yaml_text("some_node", Example, "some/file.py"))
    values = document["/**/some_node"]["ros__parameters"]
    assert Example.from_values(values) == Example()
    assert list(values) == [item.name for item in Example.declarations()]


def test_table_has_a_row_per_parameter_and_escapes_choices() -> None:
    rows = markdown_table(Example).splitlines()[2:]
    assert len(rows) == len(Example.declarations())
    assert "a \\| b" in rows[2]
    assert "| changes |" in rows[0]
    assert "| fixed |" in rows[1]
