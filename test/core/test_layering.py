# SPDX-License-Identifier: Apache-2.0
"""Imports point down only. Read from the sources, so neither ROS nor torch is needed.

cli -> ros | training | evaluation -> console -> data | sim | serving -> policy -> control | streams -> model -> contract
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "adamoe_ros"
LAYERS = (
    {"cli"},
    {"ros", "training", "evaluation"},
    {"console"},
    {"data", "sim", "serving"},
    {"policy"},
    {"control", "streams"},
    {"model"},
    {"contract"},
)
DEPTH = {name: depth for depth, layer in enumerate(LAYERS) for name in layer}
GENERATED = {"msg", "srv", "action"}  # by rosidl; of ros/ only
ROS = ("rclpy", "rosidl", "launch", "ament_index_python", "builtin_interfaces", "std_srvs")
TORCH_FREE = ("contract", "streams", "control")
OFFERED = (
    f"{PACKAGE}.serving.loading.load_policy"  # what the package itself offers, imported lazily
)
HEAVY = ("torch", "transformers", "rclpy", "mujoco")


def imports(source: str, package: str) -> Iterator[tuple[int, str]]:
    """Line and full name of every import, relative ones resolved, wherever it stands.

    Args:
        package: dotted name of the package that the module is in.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*(above if node.level else []), *filter(None, [node.module])])
            # "from adamoe_ros import control" names a layer in its last word
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def is_ros(name: str) -> bool:
    """Whether an imported name belongs to ROS."""
    top = name.split(".")[0]
    generated = name.startswith(tuple(f"{PACKAGE}.{kind}" for kind in GENERATED))
    return top.startswith(ROS) or top.endswith("_msgs") or (generated and layer_of(name) == "")


def layer_of(name: str) -> str:
    """Layer of a dotted name of this package; empty for anything else."""
    parts = name.split(".")
    return parts[1] if parts[0] == PACKAGE and len(parts) > 1 and parts[1] in DEPTH else ""


def violations(source: str, module: str, is_package: bool = False) -> list[str]:
    """What one module's source does against the order.

    Args:
        module: dotted name.
        is_package: whether the source is an ``__init__.py``.
    """
    here = layer_of(module)
    package = module if is_package else module.rpartition(".")[0]
    found = []
    for line, name in imports(source, package):
        there = layer_of(name)
        if is_ros(name) and here != "ros":
            found.append(f"{module}:{line}: only ros/ may import {name}")
        elif here == "" and there:
            if name != OFFERED:
                found.append(f"{module}:{line}: the package itself may import no layer, got {name}")
        elif there and there != here and DEPTH[there] <= DEPTH[here]:
            found.append(f"{module}:{line}: {here} may not import {there} ({name})")
        elif here in TORCH_FREE and name.split(".")[0] in HEAVY:
            found.append(f"{module}:{line}: {here} may not import {name}")
    return found


def sources() -> dict[str, Path]:
    """Dotted name -> file of every module."""
    files = sorted((ROOT / PACKAGE).rglob("*.py"))
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in files
    }


def runtime_imports(source: str, package: str) -> set[str]:
    """Full names of the imports that are carried out, lazy ones included."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            node.body = [ast.Pass()]
    return {name for _, name in imports(ast.unparse(tree), package)}


def circles(modules: dict[str, str]) -> list[list[str]]:
    """Groups of modules that import each other, directly or through others.

    Args:
        modules: dotted name -> source; a package is the name with ``.__init__``.
    """
    graph = TopologicalSorter[str]()
    for module, source in modules.items():
        for name in runtime_imports(source, module.rpartition(".")[0]):
            for known in (name, f"{name}.__init__", name.rpartition(".")[0]):
                owner = known if known in modules else f"{known}.__init__"
                if owner in modules and owner != module:
                    graph.add(module, owner)
                    break
    try:
        graph.prepare()
    except CycleError as error:
        return [error.args[1]]
    return []


def test_every_folder_is_a_layer() -> None:
    folders = {path.parent.name for path in (ROOT / PACKAGE).glob("*/__init__.py")}
    assert folders - GENERATED == set(DEPTH)


def test_imports_point_down() -> None:
    modules = sources()
    assert len(modules) > 100
    found = [
        line
        for module, path in modules.items()
        for line in violations(path.read_text(), module, path.name == "__init__.py")
    ]
    assert found == []


def test_no_module_imports_one_that_imports_it() -> None:
    files = {
        f"{name}.__init__" if path.name == "__init__.py" else name: path.read_text()
        for name, path in sources().items()
    }
    assert circles(files) == []


@pytest.mark.parametrize(
    "others",
    [
        {"p.a": "from p import b", "p.b": "import p.a"},
        {"p.a": "def f():\n    from p.b import x", "p.b": "from p.c import y", "p.c": "import p.a"},
        {"p.q.__init__": "from p.q.a import x", "p.q.a": "from p.q import y"},
    ],
)
def test_a_circle_is_found(others: dict[str, str]) -> None:
    assert len(circles(others)) == 1


def test_an_import_for_types_alone_is_no_circle() -> None:
    lazy = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p.b import B"
    assert circles({"p.a": lazy, "p.b": "from p.a import x"}) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("adamoe_ros.contract.x", "from adamoe_ros.model import config"),
        ("adamoe_ros.contract.x", "from adamoe_ros import model"),
        ("adamoe_ros.contract.x", "from ..model import config"),
        ("adamoe_ros.contract.x", "from .. import model"),
        ("adamoe_ros.control.strategies.x", "from ...streams import align"),
        ("adamoe_ros.control.x", "def f():\n    import adamoe_ros.policy.engines.eager"),
        ("adamoe_ros.control.x", "import torch.nn"),
        ("adamoe_ros.streams.x", "def f():\n    from sensor_msgs.msg import Image"),
        ("adamoe_ros.training.x", "import adamoe_ros.evaluation.rollout"),
        ("adamoe_ros.data.x", "from adamoe_ros.msg import ActionChunk"),
        ("adamoe_ros.cli.x", "import rclpy"),
        ("adamoe_ros.evaluation.x", "import launch.actions"),
    ],
)
def test_a_wrong_import_is_found(module: str, source: str) -> None:
    assert len(violations(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("adamoe_ros.cli.x", "from adamoe_ros.ros import runner"),
        ("adamoe_ros.ros.x", "import rclpy\nfrom adamoe_ros.msg import ActionChunk"),
        ("adamoe_ros.ros.control.x", "from ...control.gate import Gate\nfrom . import ticks"),
        ("adamoe_ros.ros.x", "from adamoe_ros.ros.launching import node"),
    ],
)
def test_a_right_import_is_not(module: str, source: str) -> None:
    assert violations(source, module) == []


def test_relative_imports_of_a_package_start_at_itself() -> None:
    assert list(imports("from . import align", "adamoe_ros.streams")) == [
        (1, "adamoe_ros.streams.align")
    ]


@pytest.mark.parametrize("layer", TORCH_FREE)
def test_importing_a_light_layer_loads_nothing_heavy(layer: str) -> None:
    """Also what a helper imports for it; a fresh interpreter, since other tests load torch."""
    modules = [name for name in sources() if layer_of(name) == layer]
    code = (
        "import importlib, json, sys\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == []


def test_asking_for_help_is_light() -> None:
    code = (
        "import sys\nfrom adamoe_ros.cli.main import main\nassert main(['--help']) == 0\n"
        f"loaded = [name for name in (*{HEAVY!r}, 'numpy', 'pydantic') if name in sys.modules]\n"
        "sys.exit(f'loaded {loaded}' if loaded else 0)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
