# SPDX-License-Identifier: Apache-2.0
"""control_node from start to end: what it refuses, every transition, signals, shadow, simulation time."""

from __future__ import annotations

import shutil
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from builtin_interfaces.msg import Time as TimeMessage
from control_rig import START, Process, Rig, node_command, wait_until
from lifecycle_msgs.msg import Transition
from reactions import check_time
from rosgraph_msgs.msg import Clock

from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.contract.profile_io import load_profile
from adamoe_ros.contract.resources import robots_dir
from adamoe_ros.msg import ControlStatus
from adamoe_ros.ros import qos

CONFIGURE, CLEANUP = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_CLEANUP
ACTIVATE, DEACTIVATE = Transition.TRANSITION_ACTIVATE, Transition.TRANSITION_DEACTIVATE


def test_unknown_and_wrong_parameters_end_it_with_all_lines(tmp_path: Path) -> None:
    wrong = {"robot": "aloha_sim", "spead": 1.0, "max_speed_scale": 7.0, "strategy": "hope"}
    command = node_command("adamoe_ros.ros.control.control_node", "ControlNode", wrong)
    process = Process(command, tmp_path / "log")
    assert process.child.wait(START) == 2
    lines = [line for line in process.text.splitlines() if line.startswith("parameter ")]
    assert [line.split(":")[0].split()[1] for line in lines] == [
        "spead",
        "max_speed_scale",
        "strategy",
    ]
    process.stop()


def test_every_transition_and_back(tmp_path: Path) -> None:
    with Rig(tmp_path, autostart=False) as rig:
        probe = rig.probe
        probe.wait(lambda: probe.statuses, "a status while unconfigured")
        answer, log = probe.ask_transition("control_node", ACTIVATE), rig.processes["control"]
        # Jazzy's rclpy does not answer a transition that the state does not have
        probe.wait(lambda: answer.done() or "transition refused" in log.text, "the refusal")
        for _ in range(2):
            assert probe.transition("control_node", CONFIGURE)
            assert probe.state_of("control_node") == "inactive"
            probe.statuses.clear()  # the newest may be of before the cleanup
            probe.wait(lambda: probe.statuses and probe.status.state_age >= 0, "joint states")
            assert probe.status.mode == ControlStatus.INACTIVE
            assert probe.transition("control_node", ACTIVATE)
            probe.wait_mode(ControlStatus.HOLD)
            rig.move(1.0)
            assert probe.transition("control_node", DEACTIVATE)
            probe.wait_mode(ControlStatus.INACTIVE)
            probe.wait_quiet(probe.commands["follower_left/joint_commands"])
            assert probe.transition("control_node", CLEANUP)
            assert probe.state_of("control_node") == "unconfigured"
        assert probe.transition("control_node", Transition.TRANSITION_UNCONFIGURED_SHUTDOWN)
        assert rig.processes["control"].child.wait(START) == 0


def test_activation_waits_for_joint_states_and_says_so(tmp_path: Path) -> None:
    with Rig(tmp_path, loopback={"fault": "silent"}) as rig:
        log = rig.processes["control"]
        rig.probe.wait(lambda: "follower_right/joint_states" in log.text, "the reason")
        assert log.text.count("follower_left/joint_states: expected a message") == 1
        rig.probe.wait_mode(ControlStatus.INACTIVE)
        rig.probe.set("loopback_node", fault="none")
        rig.holding()


BROKEN = "extends: aloha_sim\nname: broken\ncommand_rate: 1\ncolour: red\n"


@pytest.mark.parametrize(
    ("robot", "expected"),
    [("no_such_robot", ["one of aloha_agilex"]), ("broken.yaml", ["colour", "command_rate"])],
)
def test_a_wrong_profile_fails_configure_with_all_lines(
    tmp_path: Path, robot: str, expected: list[str]
) -> None:
    shutil.copy(robots_dir() / "aloha_sim.yaml", tmp_path)
    (tmp_path / "broken.yaml").write_text(BROKEN)
    given = tmp_path / robot if robot.endswith("yaml") else robot
    parameters = {"robot": given, "autostart": True}
    command = node_command("adamoe_ros.ros.control.control_node", "ControlNode", parameters)
    process = Process(command, tmp_path / "log")
    try:
        wait_until(lambda: all(text in process.text for text in expected), "the lines")
        assert process.child.poll() is None  # stays, so that the file can be mended
        assert "Traceback" not in process.text
    finally:
        assert process.stop() == 0


BOX = """
extends: aloha_sim
name: boxed
use_sim_time: false
gate: {workspace: [[-2.0, -2.0, -2.0], [2.0, 0.05, 2.0]], urdf: arms.urdf}
"""


def write_urdf(path: Path, profile: RobotProfile) -> None:
    """Both arms: the first joint turns the tool, 1 m away, about z; the others turn it on the spot."""
    text = ""
    for side, arm in profile.ordered_arms:
        parent, reach = "world", "0 0 0"
        for joint in arm.joints:
            name = f"{side}_{joint.name}"
            text += (
                f'<joint name="{name}" type="revolute"><parent link="{parent}"/>'
                f'<child link="{name}_link"/><origin xyz="{reach}"/><axis xyz="0 0 1"/></joint>'
            )
            parent, reach = f"{name}_link", "1 0 0" if parent == "world" else "0 0 0"
    path.write_text(f'<robot name="r">{text}</robot>')


def test_tools_stay_inside_the_workspace_box(tmp_path: Path) -> None:
    (tmp_path / "boxed.yaml").write_text(BOX)
    write_urdf(tmp_path / "arms.urdf", load_profile(tmp_path / "boxed.yaml"))
    with Rig(tmp_path, robot=str(tmp_path / "boxed.yaml")) as rig:
        rig.holding()
        rig.move(2.0)
        rig.probe.wait(lambda: rig.probe.status.workspace_clips > 0, "the box")
        rig.probe.wait_mode(ControlStatus.HOLD, "chunk_")
        first = [sample.values[0] for sample in rig.probe.commands["follower_left/joint_commands"]]
        assert 0.01 < max(first) <= np.arcsin(0.05)


def test_shadow_publishes_beside_the_robot_and_moves_nothing(tmp_path: Path) -> None:
    with Rig(tmp_path, shadow=True) as rig:
        rig.probe.listen_to_shadow()
        rig.holding()
        rig.move(1.0)
        shadow = rig.probe.commands["control_node/shadow/follower_left/joint_commands"]
        rig.probe.wait(
            lambda: shadow and float(np.ptp([s.values[0] for s in shadow])) > 0.1, "shadow motion"
        )
        assert rig.probe.status.shadow
        assert rig.probe.commands["follower_left/joint_commands"] == []
        assert np.array(rig.probe.status.measured) == pytest.approx(rig.home)


def test_robots_in_two_namespaces_do_not_hear_each_other(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
    with Rig(folders[0], namespace="a") as one, Rig(folders[1], namespace="b") as other:
        one.holding()
        other.holding()
        one.move(2.0)
        one.probe.emergency_stop()
        one.probe.wait_mode(ControlStatus.ESTOP)
        assert other.probe.status.mode == ControlStatus.HOLD
        assert other.probe.status.accepted_chunks == 0
        assert np.array(other.probe.status.measured) == pytest.approx(other.home)


def test_ticks_follow_simulation_time(tmp_path: Path) -> None:
    """At a quarter of real time the command rate is a quarter; a jump back holds, a new chunk moves."""
    with Rig(tmp_path, loopback={"use_sim_time": True}, use_sim_time=True, sim_probe=True) as rig:
        clock = rig.probe.node.create_publisher(Clock, "/clock", qos.CLOCK)
        time_ns, ended = [10**10], threading.Event()

        def run() -> None:
            while not ended.wait(0.008):
                time_ns[0] += 2_000_000
                seconds, rest = divmod(time_ns[0], 10**9)
                clock.publish(Clock(clock=TimeMessage(sec=seconds, nanosec=rest)))

        thread = threading.Thread(target=run)
        thread.start()
        try:
            rig.holding()
            samples = rig.probe.commands["follower_left/joint_commands"]
            begin, count, at = time.monotonic(), len(samples), time_ns[0]
            time.sleep(2.0)
            simulated = (time_ns[0] - at) / 1e9
            assert simulated < 0.6 * (time.monotonic() - begin)
            rate = (len(samples) - count) / simulated
            # on the wall clock it would be twice as much or more; a busy machine loses ticks
            assert 0.1 * rig.profile.command_rate < rate < 1.5 * rig.profile.command_rate
            rig.move(2.0)
            time_ns[0] -= 5 * 10**9
            rig.probe.wait_mode(ControlStatus.HOLD, "clock_jump")
            rig.probe.chunk(rig.wave(2.0))
            rig.probe.wait_mode(ControlStatus.RUNNING)
        finally:
            ended.set()
            thread.join()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ended_in_the_middle_of_a_motion(tmp_path: Path, number: int) -> None:
    with Rig(tmp_path, robot="gazebo_aloha_agilex") as rig:
        rig.holding()
        rig.move(20.0)
        samples = rig.probe.trajectories["left_arm_controller/joint_trajectory"]
        rig.probe.wait(lambda: any(samples[-1].points[-1].velocities), "speed")
        control = rig.processes["control"]
        begin = time.monotonic()
        control.child.send_signal(number)  # twice, as launch and a terminal do
        assert control.stop(number, START) == 0
        check_time(f"{signal.Signals(number).name} in motion", time.monotonic() - begin, 5.0)
        rig.probe.wait(lambda: not any(samples[-1].points[-1].velocities), "the standing command")
        last, before = (sample.points[-1].positions for sample in (samples[-1], samples[-2]))
        speed = rig.profile.arms["left"].joints[0].limits.velocity
        # the last command again; a few of them may be lost on a busy machine
        assert np.abs(np.array(last) - before).max() < 5 * speed / rig.profile.command_rate
        assert "Traceback" not in control.text
