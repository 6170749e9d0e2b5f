# SPDX-License-Identifier: Apache-2.0
"""What the policy sees, in the model's order and units, with the stamps it was taken at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Observation:
    """One time-aligned observation.

    Attributes:
        stamp_ns: time the observation stands for, ns of the sensors' clock.
        images: camera slot -> (H, W, 3) uint8 RGB; a declared-absent slot has no entry.
        state: (S,) float64, model roles' order and units (rad; gripper in the checkpoint's convention).
        instruction: the sentence, as the user wrote it.
        image_stamps_ns: camera slot -> ns, acquisition of the image that is used.
        state_stamp_ns: ns, the joint state that is used (interpolated: the later neighbour).
    """

    stamp_ns: int
    images: Mapping[str, NDArray[np.uint8]]
    state: NDArray[np.float64]
    instruction: str
    image_stamps_ns: Mapping[str, int] = field(default_factory=dict)
    state_stamp_ns: int = 0

    @property
    def skew_s(self) -> float:
        """Largest distance of any input from ``stamp_ns``, s."""
        stamps = [*self.image_stamps_ns.values(), self.state_stamp_ns or self.stamp_ns]
        return max(abs(stamp - self.stamp_ns) for stamp in stamps) / 1e9
