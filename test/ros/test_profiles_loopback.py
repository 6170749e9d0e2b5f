# SPDX-License-Identifier: Apache-2.0
"""Every shipped profile drives both arms of a robot that echoes commands as states."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from control_rig import Process, Rig, node_command, wait_until

from adamoe_ros.contract.profile_io import known_profiles, load_profile
from adamoe_ros.contract.resources import robots_dir
from adamoe_ros.contract.topics import command_topics
from adamoe_ros.control.limits import joint_limits
from adamoe_ros.msg import ControlStatus

pytestmark = pytest.mark.side_by_side


def needs_interbotix(robot: str) -> bool:
    profile = load_profile(robots_dir() / f"{robot}.yaml")
    return any(topic.target.type == "interbotix" for topic in command_topics(profile))


HAVE_INTERBOTIX = importlib.util.find_spec("interbotix_xs_msgs") is not None
NAMES = known_profiles(robots_dir())
RUNNABLE = [name for name in NAMES if HAVE_INTERBOTIX or not needs_interbotix(name)]
OTHERS = [name for name in NAMES if name not in RUNNABLE]


def test_every_command_type_of_ros_itself_is_covered() -> None:
    profiles = [load_profile(robots_dir() / f"{name}.yaml") for name in RUNNABLE]
    types = {topic.target.type for profile in profiles for topic in command_topics(profile)}
    assert types >= {"joint_state", "joint_trajectory", "float64_multi_array"}


@pytest.mark.parametrize("robot", RUNNABLE)
def test_both_arms_follow_their_commands(robot: str, tmp_path: Path) -> None:
    with Rig(tmp_path, robot=robot) as rig:
        rig.holding()
        assert tuple(rig.probe.status.joint_names) == rig.profile.joint_ids
        rows = rig.wave(1.0)
        rig.probe.run()
        rig.probe.chunk(rows)
        rig.probe.wait_mode(ControlStatus.RUNNING)
        rig.probe.wait_mode(ControlStatus.HOLD, "chunk_exhausted")
        rig.probe.wait(lambda: near(rig, rows[-1]), "the arms to arrive")
        check_messages(rig)
        moved = np.abs(rows[-1] - rows[0]) > 0.02
        assert moved[: len(moved) // 2].any()
        assert moved[len(moved) // 2 :].any()


def near(rig: Rig, target: np.ndarray) -> bool:
    measured = np.array(rig.probe.status.measured)
    return bool((np.abs(measured - target) < 0.01).all())


def check_messages(rig: Rig) -> None:
    """Names, widths, velocities and limits of what each driver got."""
    limits = joint_limits(rig.profile)
    for topic in command_topics(rig.profile):
        samples, columns = rig.probe.commands[topic.target.topic], list(topic.columns)
        values = np.array([sample.values for sample in samples])
        assert values.shape[1] == len(topic.names)
        assert (values >= limits.low[columns] - 1e-9).all()
        assert (values <= limits.high[columns] + 1e-9).all()
        if topic.target.type in ("joint_state", "joint_trajectory"):
            assert samples[-1].names == topic.names
        for message in rig.probe.trajectories.get(topic.target.topic, []):
            (point,) = message.points
            assert len(point.velocities) == (len(topic.names) if topic.target.velocity else 0)
            assert point.time_from_start.nanosec > 0


@pytest.mark.parametrize("robot", OTHERS)
def test_without_the_drivers_messages_configure_says_what_to_do(robot: str, tmp_path: Path) -> None:
    parameters = {"robot": robot, "autostart": True}
    command = node_command("adamoe_ros.ros.control.control_node", "ControlNode", parameters)
    process = Process(command, tmp_path / "log")
    try:
        wait_until(lambda: "source the Interbotix workspace" in process.text, "the line")
    finally:
        assert process.stop() == 0
