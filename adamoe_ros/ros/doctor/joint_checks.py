# SPDX-License-Identifier: Apache-2.0
"""What a joint-state message says, judged against the profile.

Messages are duck-typed: ``name`` and ``position`` are enough.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from adamoe_ros.contract.profile import Gripper, Limits, RobotProfile
from adamoe_ros.contract.topics import StateTopic
from adamoe_ros.ros.doctor.report import Check

_AREA = "robot"
_MARGIN = 0.05  # rad or m beyond a limit that calibration explains


class JointMessage(Protocol):
    """The part of sensor_msgs/JointState that is read."""

    name: Sequence[str]
    position: Sequence[float]


def check_joints(
    profile: RobotProfile, topic: StateTopic, where: str, message: JointMessage
) -> Iterator[Check]:
    """Names, values and grippers of one message.

    Args:
        where: resolved name of the topic.
    """
    name = f"{where} joints"
    problem = _layout_problem(topic, message)
    if problem:
        yield Check(_AREA, name, "fail", problem)
        return
    yield Check(_AREA, name, "ok", f"{len(topic.names)} found, by {topic.source.match}")
    values = _values(topic, message)
    limits = [limit for _, arm in profile.ordered_arms for limit in arm.limits]
    own = [limits[column] for column in topic.columns]
    yield _range_check(where, topic.names, values, own)
    grippers = _grippers(profile)
    for column, joint, value in zip(topic.columns, topic.names, values, strict=True):
        if column in grippers:
            yield _gripper_check(f"{where} {joint}", grippers[column], value)


def _layout_problem(topic: StateTopic, message: JointMessage) -> str:
    if len(message.name) != len(message.position) and topic.source.match == "name":
        return f"{len(message.name)} names for {len(message.position)} positions; mend the driver"
    if topic.source.match == "index":
        wanted, got = len(topic.names), len(message.position)
        return "" if wanted == got else f"{got} positions, the profile lists {wanted} by index"
    missing = [joint for joint in topic.names if joint not in message.name]
    if not missing:
        return ""
    there = ", ".join(message.name)
    return f"missing {', '.join(missing)}; the message has {there}: correct the profile's names"


def joint_values(topic: StateTopic, message: JointMessage) -> np.ndarray | None:
    """(J,) values of a message in the profile's order; None where its layout is wrong."""
    return None if _layout_problem(topic, message) else _values(topic, message)


def _values(topic: StateTopic, message: JointMessage) -> np.ndarray:
    if topic.source.match == "index":
        return np.array(message.position, dtype=np.float64)
    by_name = dict(zip(message.name, message.position, strict=True))
    return np.array([by_name[joint] for joint in topic.names], dtype=np.float64)


def _range_check(
    where: str, names: Sequence[str], values: np.ndarray, limits: Sequence[Limits]
) -> Check:
    name = f"{where} values"
    wrong = []
    for joint, value, limit in zip(names, values, limits, strict=True):
        low, high = limit.position
        if not low - _MARGIN <= value <= high + _MARGIN:  # false for NaN as well
            wrong.append(f"{joint} {value:.3f} outside [{low:g}, {high:g}]")
    if wrong:
        do = "check the unit (rad, m), the sign and the limits in the profile"
        return Check(_AREA, name, "fail", f"{'; '.join(wrong)}; {do}")
    return Check(_AREA, name, "ok", "finite and inside the profile's limits")


def _grippers(profile: RobotProfile) -> dict[int, Gripper]:
    found: dict[int, Gripper] = {}
    column = 0
    for _, arm in profile.ordered_arms:
        column += len(arm.names)
        if arm.gripper:
            found[column - 1] = arm.gripper
    return found


def _gripper_check(name: str, gripper: Gripper, value: float) -> Check:
    """Says which end the profile takes this for; only a person can see whether that is so."""
    share = (value - gripper.closed) / (gripper.open - gripper.closed)
    reading = "open" if share > 0.5 else "closed"
    text = (
        f"{value:.4f} {gripper.unit} means {share * 100:.0f} % open, so {reading}: "
        "if it is not, swap 'open' and 'closed' in the profile"
    )
    return Check(_AREA, name, "ok" if -0.1 <= share <= 1.1 else "warn", text, {"open share": share})
