# SPDX-License-Identifier: Apache-2.0
"""Scripts that CI does not run: what they import from this tree is there, and they tell their options."""

from __future__ import annotations

import ast
import json
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
FOLDERS = ("benchmarks", "test/browser", "test/chaos", "test/conformance", "test/gpu", "test/scale")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).glob("*.py"))
HELPERS = {
    path.stem: path
    for folder in ("benchmarks", "test", "tools")
    for path in (ROOT / folder).rglob("*.py")
}
GENERATED = ("adamoe_ros.msg", "adamoe_ros.srv", "adamoe_ros.action")


def module_path(name: str) -> Path | None:
    """File of a module of this tree; None: it is of somebody else."""
    if not name.startswith("adamoe_ros"):
        return HELPERS.get(name)
    path = ROOT / name.replace(".", "/")
    package = path / "__init__.py"  # a folder may be left of a module that has become a file
    return package if package.is_file() else path.with_suffix(".py")


@cache
def names_of(path: Path) -> set[str]:
    """What a module has at its top, and the modules beside a package."""
    found = {item.stem for item in path.parent.iterdir()} if path.stem == "__init__" else set()
    waiting = list(ast.parse(path.read_text(encoding="utf-8")).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
            continue
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            found |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        waiting += ast.iter_child_nodes(node)  # type: ignore[arg-type]
    return found


def missing(path: Path) -> Iterator[str]:
    """Imports of this tree, anywhere in a file, that are not there."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        wanted: list[tuple[str, tuple[str, ...]]] = []
        if isinstance(node, ast.Import):
            wanted = [(alias.name, ()) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            wanted = [(node.module, tuple(alias.name for alias in node.names))]
        for module, names in wanted:
            where = None if module.startswith(GENERATED) else module_path(module)
            if where is None:
                continue
            there = names_of(where) if where.is_file() else set()
            absent = sorted(set(names) - there)
            if absent or not where.is_file():
                yield f"{path.name}:{node.lineno}: {module} has no {', '.join(absent)}"


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_scripts_import_exists(folder: str) -> None:
    files = [path for path in FILES if path.parent == ROOT / folder]
    assert files
    assert [line for path in files for line in missing(path)] == []


def test_a_name_that_is_gone_is_found(tmp_path: Path) -> None:
    script = tmp_path / "bench.py"
    script.write_text(
        "from common import machine, gone\n"
        "def main():\n"
        "    from adamoe_ros.training.demonstration_set import DemonstrationSet, Episode\n"
        "    import adamoe_ros.nowhere\n"
    )
    assert list(missing(script)) == [
        "bench.py:1: common has no gone",
        "bench.py:3: adamoe_ros.training.demonstration_set has no Episode",
        "bench.py:4: adamoe_ros.nowhere has no ",
    ]


# one process for all, since most of the time goes into torch; each script finds only its own helpers
ASK = """
import contextlib, io, json, runpy, sys
from pathlib import Path
root, places, told = Path(sys.argv[1]), list(sys.path), {}
for script in sys.argv[2:]:
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith((f"{root}/benchmarks", f"{root}/test")):
            del sys.modules[name]
    sys.path[:] = [str(Path(script).parent), *places]
    sys.argv[:] = [script, "--help"]
    text = io.StringIO()
    try:
        with contextlib.redirect_stdout(text):
            runpy.run_path(script, run_name="__main__")
        told[script] = "returned"
    except SystemExit as end:
        told[script] = text.getvalue() if not end.code else f"exit {end.code}"
    except Exception as error:
        told[script] = repr(error)
print(json.dumps(told))
"""


def test_every_benchmark_tells_its_options() -> None:
    """With ROS, which some of them need to import."""
    programs = [
        path
        for path in FILES
        if path.parent.name == "benchmarks" and "\nif __name__ ==" in path.read_text("utf-8")
    ]
    assert len(programs) > 30
    words = ["bash", "-c", 'source "$0/tools/env.sh" && exec python -c "$@"', ROOT, ASK, ROOT]
    done = subprocess.run(
        [*map(str, words), *map(str, programs)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout)
    assert {script: text for script, text in told.items() if not text.startswith("usage: ")} == {}
    assert set(told) == set(map(str, programs))
