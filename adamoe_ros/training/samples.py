# SPDX-License-Identifier: Apache-2.0
"""What a trainer needs of a data set, and the batch it makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class DataLayout:
    """What the numbers of a data set mean.

    Attributes:
        embodiment: kinematics it was recorded on, e.g. ``vx300s_dual``.
        camera_slots: of the images, in the model's order.
        roles: of state and actions, canonical (``left_0 ... right_gripper``).
        control_rate_hz: of the action rows.
        gripper_open, gripper_closed: values of a gripper's column.
        state_source: ``measured`` positions, or the ``last_command``.
    """

    embodiment: str
    camera_slots: tuple[str, ...]
    roles: tuple[str, ...]
    control_rate_hz: float
    gripper_open: float = 1.0
    gripper_closed: float = 0.0
    state_source: Literal["measured", "last_command"] = "measured"


@dataclass(frozen=True)
class Batch:
    """B samples, not yet normalised.

    Attributes:
        images: (B, C, H, W, 3) uint8 RGB, camera slots in the model's order, of the model's size.
        state: (B, S) float32, physical units of the checkpoint.
        actions: (B, R, A) float32, chunk rows, physical units of the checkpoint.
        instructions: B sentences.
        objects: (B, O) float32, auxiliary object targets in m, or None where the data has none.
    """

    images: NDArray[np.uint8]
    state: NDArray[np.float32]
    actions: NDArray[np.float32]
    instructions: tuple[str, ...]
    objects: NDArray[np.float32] | None


class SampleSource(Protocol):
    """A data set: samples by number, and the columns that statistics are made of."""

    layout: DataLayout

    def __len__(self) -> int:
        """Number of samples."""

    def batch(self, indices: NDArray[np.int64]) -> Batch:
        """The samples with these numbers."""

    def states(self) -> NDArray[np.float32]:
        """(N, S) every sample's state."""

    def action_rows(self) -> NDArray[np.float32]:
        """(M, A) every action once, for the statistics."""

    def objects(self) -> NDArray[np.float32] | None:
        """(N, O) auxiliary targets, m."""

    def tasks(self) -> NDArray[np.int64]:
        """(N,) task number of each sample."""

    def sentences(self) -> tuple[str, ...]:
        """Every distinct instruction, sorted."""
