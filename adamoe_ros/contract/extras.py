# SPDX-License-Identifier: Apache-2.0
"""The optional parts of the package, and the one line for a part that is not installed.

An extra of ``setup.py`` has the packages of ``requirements/<extra>.txt``; here stand the modules that
they bring. Where the package was built by colcon there is no pip to ask: then the line names the
set-up of a robot's computer.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Iterable, Iterator, Mapping

from adamoe_ros.contract.errors import ContractError, problem

CORE = ("numpy", "pydantic", "yaml")
EXTRAS: Mapping[str, tuple[str, ...]] = {
    "policy": ("torch", "safetensors", "tokenizers", "sentencepiece"),
    "data": ("av", "cv2", "jinja2", "markupsafe", "PIL", "psutil", "pyarrow", "rich", "rosbags"),
    "sim": ("mujoco",),
    "console": ("starlette", "uvicorn", "foxglove"),
    "serve": ("websockets", "msgpack", "prometheus_client"),
    "console": ("starlette", "uvicorn"),
    "convert": ("tensorstore",),
    "ray": ("ray",),
}
_ROS = ("rclpy", "launch", "launch_ros", "builtin_interfaces", "std_srvs", "rcl_interfaces")
_OVERLAY = ("adamoe_ros.msg", "adamoe_ros.srv", "adamoe_ros.action")


def extra_of(module: str) -> str | None:
    """The extra that brings a module; empty: every installation has it; None: none of them."""
    top = module.partition(".")[0]
    if top in CORE:
        return ""
    return next((extra for extra, modules in EXTRAS.items() if top in modules), None)


def found(module: str) -> bool:
    """Whether a module is installed, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ModuleNotFoundError, ValueError):  # a finder may refuse; a module may have no spec
        return False


def lacking(modules: Iterable[str]) -> list[str]:
    """Those that are not installed."""
    return [module for module in modules if not found(module)]


def how_to_install(extras: Iterable[str] = ()) -> str:
    """What a person does to get some extras (none: the packages that every part needs)."""
    names = ",".join(sorted(filter(None, extras)))
    try:
        importlib.metadata.version("adamoe_ros")
    except importlib.metadata.PackageNotFoundError:
        return "run tools/robot_setup.sh in the package's source folder, then colcon build"
    return f"pip install 'adamoe_ros[{names}]'" if names else "pip install adamoe_ros"


@contextlib.contextmanager
def parts_needed(*wanted: str) -> Iterator[None]:
    """A part that is not installed, in one line.

    Args:
        wanted: extras that the block needs: those that lack something are named as well, so that one
            installation is enough.

    Raises:
        ContractError: an import of one of our parts, or of ROS, failed in the block.
    """
    try:
        yield
    except ImportError as error:
        line = missing_part(error, wanted)
        if line is None:
            raise
        raise ContractError(line) from error


def missing_part(error: ImportError, wanted: Iterable[str] = ()) -> str | None:
    """The line for an import that failed; None where it is not of a part of ours."""
    module = error.name or ""
    top = module.partition(".")[0]
    if module.startswith(_OVERLAY) or top in _ROS or top.endswith("_msgs"):
        do = "source /opt/ros/<distro>/setup.bash and install/setup.bash"
        return problem(module, "it to import (ROS 2)", f"none for {sys.executable}", do)
    extra = extra_of(top)
    if extra is None:
        return None
    extras = {extra, *(name for name in wanted if lacking(EXTRAS[name]))}
    got = f"none in {sys.prefix}"
    if not isinstance(error, ModuleNotFoundError):  # it is there, in a version that does not fit
        got = " ".join(str(error).split())
    return problem(top, "it installed", got, how_to_install(extras))
