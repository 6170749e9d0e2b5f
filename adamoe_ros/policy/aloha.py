# SPDX-License-Identifier: Apache-2.0
"""ALOHA's joints and grippers in pi0's own convention, in both generations of the constants.

pi0 was trained on arms whose shoulder and elbow turn the other way and whose grippers are angles.
Vectors: (..., 14), six joints and a gripper per arm; grippers 0 closed ... 1 open outside.
Source: openpi's ALOHA policy (reference: pi0-adamoe.md §1.9).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Generation = Literal["openpi", "adamoe"]

_SIGN = np.array([1, -1, -1, 1, 1, 1, 1] * 2, dtype=np.float64)
_GRIPPERS = (6, 13)
_FINGER_CLOSED, _FINGER_OPEN = 0.01844, 0.05800  # m, finger position
_HORN, _ROD = 0.022, 0.036  # m, the gripper's crank
_JOINT_CLOSED, _JOINT_OPEN = -0.6213, 1.4910  # rad, the gripper's motor


@dataclass(frozen=True)
class AlohaAdapter:
    """Conversion of state and action vectors.

    Attributes:
        closed, open: rad that pi0's gripper values 0 and 1 mean in states.
        gain, offset: rad of an action's gripper value a: gain * a + offset.
    """

    closed: float
    open: float
    gain: float
    offset: float

    def state_in(self, state: Vector) -> Vector:
        """ALOHA -> pi0; grippers as openings 0 ... 1."""
        return _with_grippers(state * _SIGN, self._gripper_in(state[..., _GRIPPERS]))

    def actions_in(self, actions: Vector) -> Vector:
        """ALOHA -> pi0, for training."""
        span = _JOINT_OPEN - _JOINT_CLOSED
        radians = actions[..., _GRIPPERS] * span + _JOINT_CLOSED
        return _with_grippers(actions * _SIGN, (radians - self.offset) / self.gain)

    def actions_out(self, actions: Vector) -> Vector:
        """pi0 -> ALOHA; inverse of ``actions_in``."""
        radians = actions[..., _GRIPPERS] * self.gain + self.offset
        span = _JOINT_OPEN - _JOINT_CLOSED
        return _with_grippers(actions * _SIGN, (radians - _JOINT_CLOSED) / span)

    def state_out(self, state: Vector) -> Vector:
        """pi0 -> ALOHA; inverse of ``state_in`` for grippers between 0 and 1."""
        angle = state[..., _GRIPPERS] * (self.open - self.closed) + self.closed
        return _with_grippers(state * _SIGN, opening(angle))

    def _gripper_in(self, share: Vector) -> Vector:
        """Opening 0 ... 1 -> crank angle -> pi0's value."""
        return (crank_angle(share) - self.closed) / (self.open - self.closed)


def crank_angle(share: Vector) -> Vector:
    """Opening 0 ... 1 -> angle of the gripper's crank, rad."""
    finger = share * (_FINGER_OPEN - _FINGER_CLOSED) + _FINGER_CLOSED
    sine = (_HORN**2 + finger**2 - _ROD**2) / (2 * _HORN * finger)
    return np.asarray(np.arcsin(np.clip(sine, -1.0, 1.0)))


def opening(angle: Vector) -> Vector:
    """Angle of the gripper's crank, rad -> opening 0 ... 1."""
    across = np.sqrt(np.maximum(_ROD**2 - (_HORN * np.cos(angle)) ** 2, 0.0))
    finger = _HORN * np.sin(angle) + across
    return np.asarray((finger - _FINGER_CLOSED) / (_FINGER_OPEN - _FINGER_CLOSED))


def _with_grippers(values: Vector, grippers: Any) -> Vector:
    made = np.array(values, dtype=np.float64)
    made[..., _GRIPPERS] = grippers
    return made


ADAPTERS: dict[Generation, AlohaAdapter] = {
    "openpi": AlohaAdapter(closed=0.5476, open=1.6296, gain=1.0, offset=0.5476),
    "adamoe": AlohaAdapter(closed=0.4, open=1.5, gain=1.1, offset=0.4),
}
