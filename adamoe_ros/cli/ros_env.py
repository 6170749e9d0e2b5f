# SPDX-License-Identifier: Apache-2.0
"""The environment in which nodes and the simulator run, computed instead of sourced.

``make setup`` leaves ``adamoe_env.json`` in the
environment's prefix (GL backend, the ROS it was built with); this module adds the overlay in
``install/``, the Fast DDS profile and the search path of shared libraries. The loader reads that path
only at the start of a process, hence ``enter``, which starts this command once more.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

PACKAGE = "adamoe_ros"
SETUP_FILE = "adamoe_env.json"
_ENTERED = "ADAMOE_ROS_ENTERED"  # prefix of the interpreter that was entered already
_LISTS = ("AMENT_PREFIX_PATH", "PYTHONPATH", "LD_LIBRARY_PATH")


@dataclass(frozen=True)
class Overlay:
    """The built package.

    Attributes:
        prefix: holds ``share/adamoe_ros`` and ``lib``.
        python: folder of the Python package with the generated interfaces.
    """

    prefix: Path
    python: Path


def source_root() -> Path | None:
    """The checkout this module stands in; None for an installed package."""
    root = Path(__file__).resolve().parents[2]
    return root if (root / "package.xml").is_file() else None


def find_overlay(root: Path) -> Overlay | None:
    """What colcon built under ``root/install``, isolated or merged; None when nothing is there."""
    for prefix in (root / "install" / PACKAGE, root / "install"):
        if not (
            prefix / "share" / "ament_index" / "resource_index" / "packages" / PACKAGE
        ).exists():
            continue
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        for pattern in (f"lib/{version}/*-packages", f"local/lib/{version}/*-packages"):
            for python in sorted(prefix.glob(pattern)):
                if (python / PACKAGE / "msg").is_dir():
                    return Overlay(prefix, python)
    return None


def read_setup(prefix: Path) -> dict[str, dict[str, str]]:
    """What set-up found out: ``variables`` to set, ``lists`` to put in front, ``ros`` if sourced."""
    try:
        document = json.loads((prefix / SETUP_FILE).read_text())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def complete(
    environment: Mapping[str, str],
    root: Path | None,
    prefix: Path,
    setup: Mapping[str, dict[str, str]],
) -> dict[str, str]:
    """The environment with everything that nodes need; what a user set stays.

    Args:
        environment: as it is.
        root: checkout with ``install/``; None outside one.
        prefix: of the interpreter.
        setup: of ``read_setup``.
    """
    made = dict(environment)
    if not made.get("AMENT_PREFIX_PATH"):
        for name, value in setup.get("ros", {}).items():
            made[name] = _join(value, made.get(name, "")) if _is_list(name) else value
        if not setup.get("ros") and (prefix / "share" / "ament_index").is_dir():
            made["AMENT_PREFIX_PATH"] = str(prefix)  # the wheels
    for name, value in setup.get("lists", {}).items():
        made[name] = _join(value, made.get(name, ""))
    overlay = find_overlay(root) if root else None
    if overlay:
        made["AMENT_PREFIX_PATH"] = _join(str(overlay.prefix), made.get("AMENT_PREFIX_PATH", ""))
        made["LD_LIBRARY_PATH"] = _join(
            str(overlay.prefix / "lib"), made.get("LD_LIBRARY_PATH", "")
        )
        # the checkout first: its modules are the ones being edited, the overlay adds the interfaces
        made["PYTHONPATH"] = _join(f"{root}:{overlay.python}", made.get("PYTHONPATH", ""))
    made.setdefault("PYTHONNOUSERSITE", "1")
    for name, value in setup.get("variables", {}).items():
        made.setdefault(name, value)
    if root:
        made.setdefault(fastdds_variable(made), str(root / "config" / "fastdds.xml"))
    return made


def fastdds_variable(environment: Mapping[str, str]) -> str:
    """Names the Fast DDS profile; Fast DDS of Kilted has renamed it and warns about the old name."""
    old = environment.get("ROS_DISTRO") in ("humble", "jazzy")
    return "FASTRTPS_DEFAULT_PROFILES_FILE" if old else "FASTDDS_DEFAULT_PROFILES_FILE"


def _is_list(name: str) -> bool:
    return name in _LISTS or name.endswith("PATH")


def _join(first: str, rest: str) -> str:
    """Colon lists, each folder once, the first place wins."""
    parts = [part for part in f"{first}:{rest}".split(":") if part]
    return ":".join(dict.fromkeys(parts))


def enter(module: str, arguments: list[str]) -> None:
    """Start this command again in the complete environment; return when it is complete already.

    Args:
        module: run with ``-m``.
        arguments: of the command.
    """
    made = _mine()
    same = all(made.get(name) == os.environ.get(name) for name in {*made, *os.environ})
    if same or os.environ.get(_ENTERED) == sys.prefix:
        return
    made[_ENTERED] = sys.prefix
    _replace([sys.executable, "-m", module, *arguments], made)


def _replace(command: list[str], environment: dict[str, str]) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(command[0], command, environment)


def _mine() -> dict[str, str]:
    prefix = Path(sys.prefix)
    return complete(os.environ, source_root(), prefix, read_setup(prefix))


def shell_lines(gl_only: bool = False) -> list[str]:
    """``export`` lines for a shell, of what differs from this process's environment.

    Args:
        gl_only: only what rendering needs, nothing of ROS.
    """
    setup = read_setup(Path(sys.prefix))
    made = _mine()
    if gl_only:
        made = {**os.environ, **setup.get("variables", {}), **setup.get("lists", {})}
    return [
        f"export {name}={shlex.quote(value)}"
        for name, value in sorted(made.items())
        if os.environ.get(name) != value
    ]


if __name__ == "__main__":
    print("\n".join(shell_lines("--gl-only" in sys.argv[1:])))
