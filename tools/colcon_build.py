# SPDX-License-Identifier: Apache-2.0
"""The command that builds this package's interfaces with colcon.

Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def words(
    root: Path, folder: Path, python: Path, colcon: str, symlink: bool = True
) -> list[str | Path]:
    """Words of ``colcon build``.

    Args:
        root: checkout.
        folder: gets ``build``, ``install`` and ``log``.
        python: interpreter of the environment that the build is for.
        colcon: of that environment.
        symlink: installed Python modules point into the checkout.
    """
    return [
        *(colcon, "--log-base", folder / "log", "build"),
        *(["--symlink-install"] if symlink else []),
        *("--base-paths", root, "--build-base", folder / "build"),
        *("--install-base", folder / "install", "--event-handlers", "console_direct+"),
        *("--cmake-args", "-DBUILD_TESTING=OFF", f"-DPython3_EXECUTABLE={python}"),
    ]


def clean(environment: Mapping[str, str], venv: Path) -> dict[str, str]:
    """Environment of pip and colcon: ``venv`` first, nothing of another environment."""
    guard = "_ROS_WHEELS_BOOTSTRAP_COMPLETE"  # of another environment's wheels
    made = {key: value for key, value in environment.items() if key not in (guard, "PYTHONHOME")}
    made["PYTHONNOUSERSITE"] = "1"
    made["VIRTUAL_ENV"] = str(venv)
    made["PATH"] = f"{venv / 'bin'}:{environment.get('PATH', '')}"
    return made


def only_wheels(environment: Mapping[str, str], venv: Path) -> dict[str, str]:
    """``clean``, with ROS from the wheels in ``venv`` and from nowhere else."""
    foreign = ("PYTHONPATH", "LD_LIBRARY_PATH", "COLCON_PREFIX_PATH", "ROS_DISTRO")
    made = {k: v for k, v in clean(environment, venv).items() if k not in foreign}
    made["AMENT_PREFIX_PATH"] = made["CMAKE_PREFIX_PATH"] = str(venv)
    return made
