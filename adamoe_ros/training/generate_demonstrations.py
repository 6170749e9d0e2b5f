# SPDX-License-Identifier: Apache-2.0
"""Demonstrations of the scripted expert, in the policy's units and image size.

Pictures are taken as the robot's cameras deliver them and made small as the policy does it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adamoe_ros.contract.joint_map import JointMap, build_joint_map, profile_roles
from adamoe_ros.contract.profile_io import load_profile, profile_path
from adamoe_ros.contract.resources import robots_dir
from adamoe_ros.policy.resizing import resize_picture
from adamoe_ros.sim.bimanual import CONTROL_RATE, BimanualSim
from adamoe_ros.sim.demonstrations import phrasing, run_expert
from adamoe_ros.sim.render import CameraRenderer
from adamoe_ros.sim.scene import CAMERAS
from adamoe_ros.training.data_manifest import make_manifest
from adamoe_ros.training.demonstration_set import DataLayout, Demonstration
from adamoe_ros.training.training_config import GenerateConfig


def robot_layout(robot: str) -> tuple[DataLayout, JointMap]:
    """Layout of demonstrations on a simulated robot, and the conversion of its values.

    Args:
        robot: name of a profile with the simulator's units.

    Raises:
        ContractError: there is no such profile.
    """
    profile = load_profile(profile_path(robot, robots_dir()))
    layout = DataLayout(
        embodiment=profile.embodiments[0],
        camera_slots=tuple(CAMERAS),
        roles=profile_roles(profile),
        control_rate_hz=CONTROL_RATE,
    )
    return layout, build_joint_map(profile, make_manifest(layout))


class Generator:
    """Runs the expert of one task and converts to the policy's units.

    Args:
        settings: which task, how often, how disturbed.
        size: (height, width) of the policy's images.

    Attributes:
        layout: of the episodes.
    """

    def __init__(self, settings: GenerateConfig, size: tuple[int, int]) -> None:
        self._settings, self._size = settings, size
        self.layout, self._map = robot_layout(settings.robot)
        self._sim = BimanualSim(settings.task)
        self._camera = CameraRenderer(self._sim.model)

    def _look(self) -> dict[str, NDArray[np.uint8]]:
        pictures = self._camera.slots(self._sim.data)
        return {slot: resize_picture(picture, self._size) for slot, picture in pictures.items()}

    def episode(self, number: int) -> Demonstration | None:
        """The number-th demonstration; None if the expert failed."""
        settings = self._settings
        noise = settings.noise[number % len(settings.noise)]
        seed = settings.first_seed + number
        shown = run_expert(self._sim, seed, settings.every, self._look, noise, settings.changed)
        if not shown.success:
            return None
        return Demonstration(
            images=np.stack([shown.images[slot] for slot in self.layout.camera_slots], 1),
            steps=shown.steps,
            state=self._map.model_from_state(shown.state).astype(np.float32),
            actions=self._map.model_from_command(shown.actions).astype(np.float32),
            objects=shown.goals.astype(np.float32),
            instructions=(phrasing(self._sim, seed),) * len(shown.steps),
            tasks=(settings.task,) * len(shown.steps),
            seed=seed,
        )

    def close(self) -> None:
        """Give the GL context back."""
        self._camera.close()
