# SPDX-License-Identifier: Apache-2.0
"""For ``pip install -e .``: the Python tree and the ``adamoe`` command, without the interfaces.

colcon does not read this file (package.xml says ament_cmake); it builds the interfaces beside it.
"""

from __future__ import annotations

import re
from itertools import chain
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(
    r'^__version__ = "(.+)"$', (ROOT / "adamoe_ros/__init__.py").read_text(), re.MULTILINE
)
assert VERSION is not None, "adamoe_ros/__init__.py states the version"


def requirements(name: str) -> list[str]:
    """Lines of a requirements file that are requirements."""
    lines = (ROOT / "requirements" / name).read_text().splitlines()
    return [line for line in lines if line.strip() and not line.startswith(("#", "-"))]


def shared_files(folder: str) -> list[tuple[str, list[str]]]:
    """Data files of one folder under share/adamoe_ros, where ``share_dir()`` finds them."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / folder).rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            inside = path.relative_to(ROOT)
            found.setdefault(f"share/adamoe_ros/{inside.parent}", []).append(str(inside))
    return list(found.items())


setup(
    name="adamoe_ros",
    version=VERSION.group(1),
    description="AdaMoE, a mixture-of-experts vision-language-action policy, as ROS 2 nodes",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["adamoe_ros", "adamoe_ros.*"]),
    package_data={
        "adamoe_ros": ["**/*.css", "**/*.html", "**/*.js", "**/*.json", "**/*.svg", "**/*.yaml"]
    },
    data_files=[*chain.from_iterable(map(shared_files, ("checkpoints", "config", "launch")))],
    install_requires=requirements("core.txt"),
    extras_require={
        "policy": requirements("policy.txt"),
        "sim": requirements("sim.txt"),
        "data": requirements("data.txt"),
        "serve": requirements("serve.txt"),
        "console": requirements("console.txt"),
        "convert": requirements("convert.txt"),
        "ray": requirements("ray.txt"),
        "dev": requirements("dev.txt"),
    },
    entry_points={"console_scripts": ["adamoe = adamoe_ros.cli.entry:main"]},
)
