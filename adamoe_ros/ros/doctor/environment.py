# SPDX-License-Identifier: Apache-2.0
"""Which Python runs, and what it would import: found on the disk, nothing is imported.

A compiled module is for one version of Python, and what was compiled with numpy 1 and uses its
interface does not load with numpy 2. Both are seen in the files, before an import fails.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from adamoe_ros.contract.extras import CORE, EXTRAS, found, how_to_install, lacking
from adamoe_ros.ros.doctor.report import Report

_AREA = "environment"
_PYDANTIC = (2, 9)
_TESTED_TORCH = ("2.11", "2.13")
_TAG = re.compile(r"\.cpython-3(\d+)-|\.abi3\.")
# how a compiled module gets numpy's table of functions: numpy 2's headers try the new name first
_NUMPY_1, _NUMPY_2 = b"numpy.core._multiarray_umath", b"numpy._core._multiarray_umath"


def check_environment(report: Report) -> bool:
    """Whether the packages that every part needs are there."""
    _python(report)
    complete = _core(report)
    _numpy(report)
    _torch(report)
    for extra, modules in EXTRAS.items():
        missing = lacking(modules)
        if missing:
            do = how_to_install([extra])
            report.add(
                _AREA, extra, "unchecked", f"without {', '.join(missing)}; where needed: {do}"
            )
        else:
            report.add(_AREA, extra, "ok", ", ".join(modules))
    return complete


def _python(report: Report) -> None:
    """The interpreter, and whether the ROS on the path is compiled for its version."""
    version = ".".join(map(str, sys.version_info[:3]))
    values = {"executable": sys.executable, "version": version}
    text = f"{version}, {sys.executable}"
    minor = _rclpy_minor()
    if minor is not None and minor != sys.version_info.minor:
        do = f"start nodes and adamoe with Python 3.{minor} (tools/robot_setup.sh takes the right one)"
        report.add(_AREA, "Python", "fail", f"{text}; the ROS here is for 3.{minor}; {do}", values)
        return
    root = Path(__file__).resolve().parents[3]
    beside = root / ".venv" / "bin" / "python"
    if beside.exists() and Path(sys.prefix) != root / ".venv" and not found("torch"):
        do = "build anew with colcon, then programs start with it"
        report.add(_AREA, "Python", "warn", f"{text}; not that of {beside}; {do}", values)
        return
    report.add(_AREA, "Python", "ok", text, values)


def _rclpy_minor() -> int | None:
    """Minor version of the Python that the first rclpy of the path is compiled for."""
    for folder in sys.path:
        for file in sorted(Path(folder or ".", "rclpy").glob("_rclpy_pybind11*.so")):
            if (tag := _TAG.search(file.name)) and tag[1]:
                return int(tag[1])
    return None


def _core(report: Report) -> bool:
    missing = lacking(CORE)
    if missing:
        text = f"without {', '.join(missing)} nothing works; {how_to_install()}"
        report.add(_AREA, "core", "fail", text)
        return False
    version = _version("pydantic")
    if version and _numbers(version) < _PYDANTIC:
        text = f"pydantic {version}, 2.9 or newer is needed; {how_to_install()}"
        report.add(_AREA, "core", "fail", text)
        return False
    report.add(_AREA, "core", "ok", ", ".join(f"{name} {_version(name)}" for name in CORE))
    return True


def _numpy(report: Report) -> None:
    """numpy against what the ROS on the path was compiled with."""
    version = _version("numpy")
    if not version:
        return
    old = compiled_for_numpy_1()
    values: dict[str, object] = {"version": version, "compiled for numpy 1": old}
    if old and _numbers(version) >= (2,):
        text = (
            f"{version}, and compiled for numpy 1: {', '.join(old)}; install 'numpy<2' beside them"
        )
        report.add(_AREA, "numpy", "fail", text, values)
    elif old:
        report.add(_AREA, "numpy", "ok", f"{version}, as {', '.join(old)} need it", values)
    else:
        text = f"{version}; nothing of the ROS here is bound to numpy 1 or 2"
        report.add(_AREA, "numpy", "ok", text, values)


def compiled_for_numpy_1() -> list[str]:
    """Packages of the sourced ROS with a compiled module that loads with numpy 1 alone."""
    return sorted({_package(file) for file in _compiled() if _needs_numpy_1(file)})


def _compiled() -> Iterator[Path]:
    """Compiled modules of the packages under AMENT_PREFIX_PATH, and their generated libraries."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for prefix in filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(":")):
        if Path(prefix) == Path(sys.prefix):
            continue  # wheels: pip sees to what they need
        for middle in ("lib", "local/lib"):
            for kind in ("site-packages", "dist-packages"):
                yield from Path(prefix, middle, version, kind).glob("*/**/*.so")
        yield from Path(prefix, "lib").glob("*__rosidl_generator_py.so")


def _needs_numpy_1(file: Path) -> bool:
    try:
        content = file.read_bytes()
    except OSError:
        return False
    return _NUMPY_1 in content and _NUMPY_2 not in content


def _package(file: Path) -> str:
    if file.name.endswith("__rosidl_generator_py.so"):
        return file.name.removeprefix("lib").removesuffix("__rosidl_generator_py.so")
    parts = file.parts
    place = max(parts.index(kind) for kind in ("site-packages", "dist-packages") if kind in parts)
    return parts[place + 1]


def _torch(report: Report) -> None:
    version = _version("torch")
    if not version:
        return  # the extra's line says it
    values = {"version": version}
    if ".".join(version.split(".")[:2]) in _TESTED_TORCH:
        report.add(_AREA, "torch", "ok", version, values)
    else:
        tested = " and ".join(_TESTED_TORCH)
        do = "compare 'adamoe infer' with the training computer before the arms move"
        report.add(_AREA, "torch", "warn", f"{version}, tested with {tested}; {do}", values)


def _version(module: str) -> str:
    """Of the installed distribution; empty: none, or one that does not say."""
    try:
        return importlib.metadata.version({"yaml": "pyyaml"}.get(module, module))
    except importlib.metadata.PackageNotFoundError:
        return ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])
