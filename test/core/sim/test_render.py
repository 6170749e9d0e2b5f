# SPDX-License-Identifier: Apache-2.0
"""Rendering beside learning, and where there is nothing to render with."""

from __future__ import annotations

import os
import subprocess
import sys

_RENDER_THEN_LEARN = """
import torch
from adamoe_ros.sim.bimanual import BimanualSim
from adamoe_ros.sim.render import CameraRenderer
sim = BimanualSim("lift_bar")
sim.reset(0)
camera = CameraRenderer(sim.model)
picture = camera.slots(sim.data)["cam_high"]
assert picture.shape == (480, 640, 3) and picture.max() > 200
torch.optim.AdamW([torch.nn.Parameter(torch.zeros(3))])
print("both")
camera.close()
"""


def test_an_optimiser_after_a_picture_does_not_crash() -> None:
    """Torch's optimisers load triton, whose LLVM does not bear Mesa's before it."""
    done = subprocess.run(
        [sys.executable, "-c", _RENDER_THEN_LEARN],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "both\n"


def test_no_opengl_is_one_line() -> None:
    code = "from adamoe_ros.sim.bimanual import BimanualSim\n"
    code += "from adamoe_ros.sim.render import CameraRenderer\n"
    code += "CameraRenderer(BimanualSim('lift_bar').model)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "MUJOCO_GL": "glfw", "DISPLAY": "", "WAYLAND_DISPLAY": ""},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    last = done.stderr.strip().splitlines()[-1]
    assert "ContractError: MuJoCo: expected OpenGL to render with, got " in last
    assert last.endswith("set MUJOCO_GL=egl (libegl1) or osmesa (libosmesa6)")
