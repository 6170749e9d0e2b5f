# SPDX-License-Identifier: Apache-2.0
"""Pictures of a scene; one GL context per object, used from the thread that made it."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.sim.scene import CAMERAS


class CameraRenderer:
    """Renders the robot's cameras without shadows (a tenth of the time in software).

    Args:
        model: compiled scene.
        width, height: px.

    Raises:
        ContractError: there is no OpenGL here.
    """

    def __init__(self, model: mujoco.MjModel, width: int = 640, height: int = 480) -> None:
        _load_triton_first()
        try:
            self._renderer = mujoco.Renderer(model, height, width)
        except (mujoco.FatalError, ImportError) as error:
            got = str(error).partition(",")[0]
            do = "without a screen set MUJOCO_GL=egl (libegl1) or osmesa (libosmesa6)"
            raise ContractError(problem("MuJoCo", "OpenGL to render with", got, do)) from error
        self.shadows = False

    def picture(self, data: Any, camera: str) -> NDArray[np.uint8]:
        """(height, width, 3) RGB of one camera of the scene."""
        self._renderer.update_scene(data, camera)
        self._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = int(self.shadows)
        return np.array(self._renderer.render())

    def slots(self, data: Any) -> dict[str, NDArray[np.uint8]]:
        """Camera slot -> picture, for every slot of the robot."""
        return {slot: self.picture(data, camera) for slot, camera in CAMERAS.items()}

    def close(self) -> None:
        """Give the GL context back."""
        self._renderer.close()


def _load_triton_first() -> None:
    """In a process with torch, load triton before OpenGL.

    Mesa's software renderer and triton each bring an LLVM. Torch loads triton when it first needs
    an optimiser or a compiler; with Mesa's in the process already, that ends in a segmentation
    fault (the other order works).
    """
    if "torch" in sys.modules and importlib.util.find_spec("triton") is not None:
        importlib.import_module("triton")
