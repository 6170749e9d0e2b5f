# SPDX-License-Identifier: Apache-2.0
"""Files derived from declarations are as the declarations would write them today."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from adamoe_ros.contract.parameters import Parameters
from adamoe_ros.ros import generate

ROOT = Path(__file__).parents[3]


def test_generated_files_are_up_to_date() -> None:
    assert generate.differing(ROOT) == [], "run 'python -m adamoe_ros.ros.generate'"


def test_a_changed_file_is_noticed(tmp_path: Path) -> None:
    for name, text in generate.generated().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert generate.differing(tmp_path) == []
    (tmp_path / "config" / "control_node.yaml").write_text("rate: 1")
    assert generate.differing(tmp_path) == ["config/control_node.yaml"]


def test_every_declaration_in_the_folder_is_generated() -> None:
    modules = {path.stem for path in (ROOT / "adamoe_ros" / "ros").glob("*/*_parameters.py")}
    assert modules == {module.rsplit(".", 1)[1] for module, _ in generate.NODES.values()}


@pytest.mark.parametrize("node", sorted(generate.NODES))
def test_defaults_satisfy_their_own_bounds(node: str) -> None:
    module, name = generate.NODES[node]
    kind = getattr(importlib.import_module(module), name)
    assert issubclass(kind, Parameters)
    defaults = {item.name: item.default for item in kind.declarations()}
    assert kind.from_values(defaults) == kind()
    assert all(item.spec.text.endswith(".") for item in kind.declarations())
