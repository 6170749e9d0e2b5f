# SPDX-License-Identifier: Apache-2.0
"""A value is declared once: nodes, settings and options of commands take it from there."""

from __future__ import annotations

import argparse
import ast
import importlib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest

from adamoe_ros.cli.main import COMMANDS
from adamoe_ros.cli.options import add_options, declared_values
from adamoe_ros.contract.errors import ContractError
from adamoe_ros.contract.parameters import Parameters, param, same_as
from adamoe_ros.control.policy_settings import PolicySettings
from adamoe_ros.evaluation.evaluation_settings import EvaluationSettings
from adamoe_ros.ros.generate import NODES, declaration

PACKAGE = Path(__file__).parents[3] / "adamoe_ros"
# the same word for things of their own: each node has its status, scenes have seeds, the recorder notes a hash
OWN_MEANING = {"status_rate", "seed", "checkpoint"}


@dataclass(frozen=True)
class Example(Parameters):
    rate: float = param(5.0, "How often, in 100 %.", unit="Hz", bounds=(1.0, 9.0))
    mode: str = param("a", "Way.", choices=("a", "b"))
    count: int = param(3, "Number.")
    shadow: bool = param(True, "Move nothing.")
    names: tuple[str, ...] = param((), "Names.")


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="adamoe")
    add_options(parser, Example, rate="speed")
    return parser.parse_args(words)


def test_options_read_back_as_the_declared_types() -> None:
    assert Example(**declared_values(parsed(), Example)) == Example()
    words = ("--speed", "7", "--mode", "b", "--count", "4", "--no-shadow", "--names", "x", "y")
    values = declared_values(parsed(*words), Example)
    assert Example.from_values(values) == Example(7.0, "b", 4, False, ("x", "y"))


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--speed", "10"), "--speed: expected a value in 1 ... 9 Hz, got 10.0"),
        (("--speed", "nan"), "--speed: expected a finite number, got nan"),
        (("--speed", "fast"), "--speed: expected a number, got 'fast'"),
        (("--count", "1.5"), "--count: expected a whole number, got '1.5'"),
        (("--mode", "c"), "--mode: expected one of a | b, got 'c'"),
    ],
)
def test_what_does_not_fit_is_one_line(words: tuple[str, str], line: str) -> None:
    with pytest.raises(ContractError) as caught:
        parsed(*words)
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith(line)


def test_help_says_what_the_declaration_says(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed("--help")
    text = " ".join(capsys.readouterr().out.split())
    assert "How often, in 100 %. [Hz; 1 ... 9; default 5.0]" in text
    assert "Way. [a | b; default a]" in text


def test_same_as_keeps_everything_but_what_is_changed() -> None:
    @dataclass(frozen=True)
    class Other(Parameters):
        mode: str = same_as(Example, "mode", default="b")

    assert Other().mode == "b"
    assert Other.declaration("mode").spec == Example.declaration("mode").spec
    with pytest.raises(ContractError):
        same_as(Example, "moode")


def test_no_value_is_declared_twice() -> None:
    places = defaultdict(list)
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            made = isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Call)
            if made and ast.unparse(node.value.func) == "param":
                places[ast.unparse(node.target)].append(path.name)
    twice = {name: where for name, where in places.items() if len(where) > 1}
    assert set(twice) <= OWN_MEANING, twice


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_no_option_restates_a_declaration(command: str) -> None:
    """An option that is called like a declared value comes from it, or has a meaning of its own."""
    kinds = [PolicySettings, EvaluationSettings, *map(declaration, NODES)]
    declared = {item.name: item for kind in kinds for item in kind.declarations()}
    parser = argparse.ArgumentParser()
    importlib.import_module(COMMANDS[command][0]).add_arguments(parser)
    for action in parser._actions:
        item = declared.get(action.dest)
        if item is None or item.spec.text in str(action.help).replace("%%", "%"):
            continue
        assert not action.choices, f"--{action.dest} restates choices"
        if item.default:
            assert action.default != item.default, f"--{action.dest} restates a default"
