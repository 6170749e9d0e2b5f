# SPDX-License-Identifier: Apache-2.0
"""Demonstrations of the scripted expert, in the policy's units and image size.

Pictures are taken as the robot's cameras deliver them and made small as the policy does it.
May import: contract, sim, policy, numpy, PIL.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adamoe_ros.contract.joint_map import Affine
from adamoe_ros.sim.bimanual import BimanualSim
from adamoe_ros.sim.demonstrations import run_expert
from adamoe_ros.sim.render import CameraRenderer
from adamoe_ros.training.config import GenerateConfig
from adamoe_ros.training.demonstrations import Episode


def shrink(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """(H, W, 3) -> (height, width, 3), bilinear with antialiasing; same aspect ratio only.

    Raises:
        ValueError: the aspect ratio differs (padding is the policy's, not ours).
    """
    height, width = size
    if image.shape[0] * width != image.shape[1] * height:
        raise ValueError(f"picture {image.shape[:2]} does not fit {size}")
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


class Generator:
    """Runs the expert of one task and converts to the policy's units.

    Args:
        settings: which task, how often, how disturbed.
        size: (height, width) of the policy's images.
        to_model: driver's units -> the policy's (grippers 0 closed ... 1 open).
    """

    def __init__(self, settings: GenerateConfig, size: tuple[int, int], to_model: Affine) -> None:
        self._settings, self._size, self._map = settings, size, to_model
        self._sim = BimanualSim(settings.task)
        self._camera = CameraRenderer(self._sim.model)

    def _look(self) -> dict[str, NDArray[np.uint8]]:
        pictures = self._camera.slots(self._sim.data)
        return {slot: shrink(picture, self._size) for slot, picture in pictures.items()}

    def episode(self, number: int) -> Episode | None:
        """The number-th demonstration; None if the expert failed."""
        settings = self._settings
        noise = settings.noise[number % len(settings.noise)]
        seed = settings.first_seed + number
        shown = run_expert(self._sim, seed, settings.every, self._look, noise)
        if not shown.success:
            return None
        return Episode(
            images=np.stack(list(shown.images.values()), 1),
            steps=shown.steps,
            state=self._map.apply(shown.state).astype(np.float32),
            actions=self._map.apply(shown.actions).astype(np.float32),
            objects=shown.goals.astype(np.float32),
            instruction=self._sim.instruction,
            task=settings.task,
            seed=seed,
        )

    def episodes(self, count: int, show: Callable[[int], None]) -> list[Episode]:
        """Demonstrations 0 ... count - 1 without the failed ones."""
        found = []
        for number in range(count):
            episode = self.episode(number)
            if episode is not None:
                found.append(episode)
            show(number + 1)
        return found

    def close(self) -> None:
        """Give the GL context back."""
        self._camera.close()
