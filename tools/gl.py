# SPDX-License-Identifier: Apache-2.0
"""Finds an OpenGL that renders without a screen: EGL, else OSMesa, else the OSMesa of a wheel.

A candidate counts when MuJoCo really draws a picture with it, in a process of its own: libraries that
are there and do not work are common. Standard library only; mujoco is needed in the environment.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

WHEEL = "lavavu-osmesa==1.9.10"  # carries libOSMesa 23.1 (MIT) and its LLVM; 84 MB
_SECONDS = 120.0
_PROBE = """
import mujoco
model = mujoco.MjModel.from_xml_string(
    "<mujoco><worldbody><light pos='0 0 3'/><geom size='.3' rgba='1 0 0 1'/></worldbody></mujoco>")
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
with mujoco.Renderer(model, 48, 64) as renderer:
    renderer.update_scene(data)
    picture = renderer.render()
print("GL_OK" if picture[24, 32, 0] > 2 * picture[24, 32, 2] + 20 else "GL_BLACK")
"""


@dataclass(frozen=True)
class Gl:
    """One way to render.

    Attributes:
        backend: value of MUJOCO_GL: egl or osmesa.
        library_path: folders that LD_LIBRARY_PATH needs.
    """

    backend: str
    library_path: tuple[str, ...] = ()

    def variables(self) -> dict[str, str]:
        """Environment variables, LD_LIBRARY_PATH apart; MuJoCo sets PyOpenGL's from it."""
        return {"MUJOCO_GL": self.backend}


def renders(python: Path, gl: Gl) -> bool:
    """Whether MuJoCo draws a red ball with it."""
    old = [part for part in os.environ.get("LD_LIBRARY_PATH", "").split(":") if part]
    environment = {
        **os.environ,
        **gl.variables(),
        "LD_LIBRARY_PATH": ":".join([*gl.library_path, *old]),
    }
    environment.pop("_ROS_WHEELS_BOOTSTRAP_COMPLETE", None)
    try:
        done = subprocess.run(
            [str(python), "-c", _PROBE],
            env=environment,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return "GL_OK" in done.stdout


def link_wheel(site_packages: Path, links: Path) -> Gl | None:
    """The wheel's OSMesa under the name that MuJoCo looks for; None when it is not installed.

    Args:
        links: folder for the symbolic link; made when missing.
    """
    libraries = site_packages / "lavavu_osmesa.libs"
    found = sorted(libraries.glob("libOSMesa-*.so.8*"))
    if not found:
        return None
    links.mkdir(parents=True, exist_ok=True)
    for name in ("libOSMesa.so.8", "libOSMesa.so"):
        link = links / name
        link.unlink(missing_ok=True)
        link.symlink_to(found[0])
    return Gl("osmesa", (str(links), str(libraries)))


def find(
    site_packages: Path,
    links: Path,
    install_wheel: Callable[[], None],
    works: Callable[[Gl], bool],
    wanted: str = "",
) -> Gl | None:
    """The first that works; None where none does.

    Args:
        install_wheel: puts ``WHEEL`` into the environment; called only when nothing else works.
        works: whether a candidate renders.
        wanted: MUJOCO_GL of the user; only that backend is tried then.
    """
    for backend in ("egl", "osmesa"):
        if wanted in ("", backend) and works(Gl(backend)):
            return Gl(backend)
    if wanted not in ("", "osmesa"):
        return None
    install_wheel()
    gl = link_wheel(site_packages, links)
    return gl if gl is not None and works(gl) else None
