# SPDX-License-Identifier: Apache-2.0
"""A small two-arm robot, chunks for it, and an independent judge of published commands."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray

from adamoe_ros.contract.chunk import ActionChunk
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.control.core import ControlCore
from adamoe_ros.control.limits import JointLimits, joint_limits
from adamoe_ros.control.settings import ControlSettings

FULL = os.environ.get("HYPOTHESIS_PROFILE") == "full"
SHARE = float(os.environ.get("HYPOTHESIS_SHARE", "1"))  # of the full number, for runs in pieces
SECOND = 1_000_000_000
RATE = 50.0
PERIOD = round(SECOND / RATE)
START = 10 * SECOND
ROBOTS = Path(__file__).resolve().parents[3] / "config" / "robots"


def examples(quick: int, full: int) -> settings:
    """Hypothesis settings: ``full`` examples with HYPOTHESIS_PROFILE=full, else ``quick``."""
    return settings(
        max_examples=max(1, round(full * SHARE)) if FULL else quick,
        deadline=None,
        derandomize=not FULL,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def robot(**changes: Any) -> RobotProfile:
    """Two arms of two joints and a gripper whose command unit differs from its state unit."""
    joints = [
        {"name": "a", "limits": {"position": [-1.0, 1.5], "velocity": 2.0, "acceleration": 12.0}},
        {"name": "b", "limits": {"position": [-0.2, 2.0], "velocity": 1.0, "acceleration": 5.0}},
    ]
    gripper = {
        "name": "g",
        "closed": 0.0,
        "open": 0.08,
        "limits": {"position": [0.0, 0.08], "velocity": 0.2, "acceleration": 3.0},
        "command_closed": 1.0,
        "command_open": 0.0,
    }

    def arm(side: str) -> dict[str, Any]:
        return {
            "state": {"topic": f"{side}/joint_states"},
            "command": {"topic": f"{side}/commands"},
            "joints": joints,
            "gripper": gripper,
            "home": [0.0, 0.5, 0.04],
        }

    return RobotProfile.model_validate(
        {
            "name": "small",
            "description": "two small arms",
            "embodiments": ["small"],
            "command_rate": RATE,
            "arms": {"left": arm("left"), "right": arm("right")},
            "cameras": {"cam_high": {"topic": "cam_high"}},
            "teleop": {
                "arms": {side: {"topic": f"leader_{side}"} for side in ("left", "right")},
                "deadman": {"topic": "deadman"},
            },
        }
        | changes
    )


ROBOT = robot()
LIMITS = joint_limits(ROBOT)
HOME = np.array([0.0, 0.5, 0.04, 0.0, 0.5, 0.04])  # state units
HOME_COMMAND = np.array([0.0, 0.5, 0.5, 0.0, 0.5, 0.5])
J = len(HOME)


def chunk(
    rows: NDArray[np.float64],
    stamp_ns: int,
    chunk_id: int = 1,
    generation: int = 1,
    names: tuple[str, ...] = ROBOT.joint_ids,
    dt_s: float = 0.02,
) -> ActionChunk:
    """A chunk of the small robot."""
    return ActionChunk(stamp_ns, chunk_id, generation, names, dt_s, rows)


def ramp(rows: int, speed: float, dt_s: float = 0.02) -> NDArray[np.float64]:
    """(rows, J): joint 0 of each arm at a constant speed from home, the others at rest."""
    out = np.tile(HOME_COMMAND, (rows, 1))
    out[:, [0, 3]] += speed * dt_s * np.arange(rows)[:, None]
    return out


class Driven:
    """A core with a robot that follows it perfectly, on a fake clock."""

    def __init__(self, profile: RobotProfile = ROBOT, **settings_: Any) -> None:
        self.core = ControlCore(profile, ControlSettings(**settings_))
        self.now = START
        self.core.activate(self.now, HOME)
        self.core.on_run(1)
        self.feed_state = True
        self.feed_heartbeat = True

    def measured(self) -> NDArray[np.float64]:
        """State units: the gripper is turned round and scaled."""
        pose = self.core.gate.position.copy()
        pose[[2, 5]] = (1.0 - pose[[2, 5]]) * 0.08
        return pose

    def tick(self) -> Any:
        """One period later: inputs, then a tick."""
        self.now += PERIOD
        if self.feed_heartbeat:
            self.core.on_heartbeat(self.now)
        if self.feed_state:
            self.core.on_state(self.now, self.measured())
        return self.core.tick(self.now)

    def ticks(self, count: int) -> list[Any]:
        """Several ticks."""
        return [self.tick() for _ in range(count)]


class Judge:
    """Checks commands as a robot would feel them, from positions alone.

    Args:
        limits: of the joints.
        period_s: control period.
    """

    def __init__(self, limits: JointLimits, period_s: float) -> None:
        self.limits = limits
        self.period_s = period_s
        self.last: NDArray[np.float64] | None = None
        self.speed = np.zeros(limits.joints)

    def restart(self) -> None:
        """The next command does not follow on the last (activation, reset)."""
        self.last = None
        self.speed = np.zeros(self.limits.joints)

    def stopped(self) -> None:
        """Somebody stopped the arms: the next motion starts from rest."""
        self.speed = np.zeros(self.limits.joints)

    def see(self, command: NDArray[np.float64]) -> None:
        """A published command.

        Raises:
            AssertionError: it is outside of a limit.
        """
        limits, period = self.limits, self.period_s
        assert np.isfinite(command).all()
        assert (command >= limits.low).all() and (command <= limits.high).all()
        if self.last is not None:
            speed = (command - self.last) / period
            rounding = 1e-9 * (1.0 + np.abs(command) / period)
            assert (np.abs(speed) <= limits.velocity + rounding).all()
            change = np.abs(speed - self.speed)
            assert (change <= limits.acceleration * period + 2.0 * rounding).all()
            self.speed = speed
        self.last = command
