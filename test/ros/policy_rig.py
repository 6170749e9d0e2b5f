# SPDX-License-Identifier: Apache-2.0
"""The control rig with a real policy in the loop: policy_node on a tiny random checkpoint.

The checkpoint's actions are small random motions around the home pose, so that chunks are followed
without anything refused. One word of its vocabulary, ``POISON``, has an embedding that overflows: an
instruction with it makes the network's chunk not finite while the process runs.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from control_rig import Rig, node_command, wait_until
from lifecycle_msgs.msg import Transition
from policy_support import WORDS, manifest, network, tiny_config, tokenizer_bytes
from rclpy.action import ActionClient
from sensor_msgs.msg import JointState
from std_msgs.msg import String

from adamoe_ros.action import ExecuteInstruction
from adamoe_ros.contract.joint_map import build_joint_map
from adamoe_ros.contract.profile_io import load_profile
from adamoe_ros.contract.topics import CommandTopic, command_topics
from adamoe_ros.msg import ControlStatus, PolicyStatus
from adamoe_ros.policy.checkpoint import write_checkpoint
from adamoe_ros.policy.normalise import FeatureStats, NormStats
from adamoe_ros.policy.tensor_file import specs_of
from adamoe_ros.ros import names, qos

if TYPE_CHECKING:
    from typing import Self

POISON = "bar"
SENTENCE = "lift the yellow both arms"
START = 60.0  # s for the policy's process: it loads torch, on a machine that may be busy
MAX_AGE = 2.0  # s, max_observation_age
# smaller pictures at half the rate, and longer times than a robot's: two cores carry this robot, its policy
# and whatever else the machine does, and a starved process is not the fault that a test plays
PROFILE = """
extends: aloha_sim
name: rig
use_sim_time: false
arms:
  left: {state: {timeout: 1.0}}
  right: {state: {timeout: 1.0}}
cameras:
  cam_high: {width: 96, height: 72, rate: 15.0, timeout: 1.5, tolerance: 0.5}
  cam_left_wrist: {width: 96, height: 72, rate: 15.0, timeout: 1.5, tolerance: 0.5}
  cam_right_wrist: {width: 96, height: 72, rate: 15.0, timeout: 1.5, tolerance: 0.5}
gate: {max_tracking_error: 0.15}
watchdogs: {policy: 3.0, chunk: 2.0}
teleop:
  arms: {left: {timeout: 1.0}, right: {timeout: 1.0}}
  deadman: {timeout: 1.0}
"""
ROW_RATE = 10.0  # Hz: a chunk of 50 rows lasts 5 s
SWING = 0.02  # rad, spread of the random motion
OFF_HOME = 0.2  # rad: where the first joint of the left arm is moved to
Result = ExecuteInstruction.Result


def write_profile(folder: Path, text: str = PROFILE) -> Path:
    """The rig's robot as a user's own profile."""
    path = folder / "rig.yaml"
    path.write_text(text)
    return path


def write_rig_checkpoint(folder: Path, profile_path: Path) -> Path:
    """A random network whose statistics fit the profile's home pose."""
    profile, meaning = load_profile(profile_path), manifest(control_rate_hz=ROW_RATE)
    home = np.array([value for _, arm in profile.ordered_arms for value in arm.home])
    home = build_joint_map(profile, meaning).model_from_state(home)
    target = home.copy()
    target[0] += OFF_HOME
    wide, narrow = np.full(len(home), 0.5), np.full(len(home), SWING)
    stats = NormStats(
        state=FeatureStats(mean=home, std=wide, q01=home - 2.0, q99=home + 2.0),
        actions=FeatureStats(mean=target, std=narrow, q01=target - 0.1, q99=target + 0.1),
    )
    config = tiny_config(horizon=50)
    tensors = network(config).state_dict()
    tensors["embed.weight"][WORDS.index(POISON)] = 3e38  # beyond float32 once it is scaled
    files = {"tokenizer.json": tokenizer_bytes()}
    specs = specs_of(tensors)
    return write_checkpoint(folder, config, meaning, stats, specs, tensors.items(), files)


class Goal:
    """One goal on its way.

    Args:
        rig: whose policy is asked.
        goal: what is asked for.
    """

    def __init__(self, rig: PolicyRig, goal: ExecuteInstruction.Goal) -> None:
        self._rig = rig
        self.feedback: list[ExecuteInstruction.Feedback] = []
        sent = rig.probe.in_executor(lambda: rig.client.send_goal_async(goal, self._note))
        wait_until(sent.done, lambda: f"the goal's acceptance; {rig.policy_report()}", START)
        self._handle = sent.result()
        assert self._handle.accepted, rig.policy_report()
        self._future = self._handle.get_result_async()

    def _note(self, message: Any) -> None:
        self.feedback.append(message.feedback)

    @property
    def done(self) -> bool:
        """Whether the result is there."""
        return bool(self._future.done())

    def result(self, timeout: float = START) -> ExecuteInstruction.Result:
        """Wait for the result."""
        wait_until(
            self._future.done, lambda: f"the goal's result; {self._rig.policy_report()}", timeout
        )
        return self._future.result().result

    def cancel(self) -> None:
        """Ask for it, without waiting."""
        self._handle.cancel_goal_async()


class PolicyRig(Rig):
    """Robot with cameras, control_node and policy_node.

    Args:
        folder: of logs, profile and checkpoint.
        control: parameters of control_node.
        policy: parameters of policy_node.
    """

    def __init__(self, folder: Path, control: dict[str, Any] | None = None, **policy: Any) -> None:
        self.robot = write_profile(folder)
        self.checkpoint = write_rig_checkpoint(folder / "checkpoint", self.robot)
        super().__init__(folder, str(self.robot), {"cameras": True}, **(control or {}))
        shared = {"robot": self.robot, "checkpoint": self.checkpoint, "autostart": True}
        parameters = {**shared, "device": "cpu", "threads": 1, "seed": 1}
        parameters |= {"max_observation_age": MAX_AGE, "input_patience": 0.0, "input_timeout": 20.0}
        parameters |= policy
        self.policy_command = node_command(
            "adamoe_ros.ros.policy.policy_node", "PolicyNode", parameters, threads=4
        )
        self._commands["policy"] = self.policy_command
        self.policy_statuses: list[PolicyStatus] = []

    def __enter__(self) -> Self:
        super().__enter__()
        node = self.probe.node
        self.probe.leave_policy()
        self.client = self.probe.in_executor(
            lambda: ActionClient(node, ExecuteInstruction, names.EXECUTE)
        )
        self._sentences = node.create_publisher(String, names.INSTRUCTION, qos.INSTRUCTION)
        node.create_subscription(
            PolicyStatus, names.POLICY_STATUS, self.policy_statuses.append, qos.POLICY_STATUS
        )
        return self

    @property
    def policy_log(self) -> str:
        """Output of policy_node so far."""
        return self.processes["policy"].text

    def wait_active(self) -> None:
        """Until the policy is active and control holds."""
        wait_until(lambda: self.policy_state("active"), lambda: self.policy_log, START)
        assert self.client.wait_for_server(START)
        # control hears the policy: before, chunks of a goal could be lost on their way
        self.probe.wait(self._heard_by_control, "control to hear it", START)
        self.holding()

    def _heard_by_control(self) -> bool:
        return bool(self.probe.statuses) and self.probe.status.policy_age >= 0

    def policy_state(self, state: str) -> bool:
        """Whether the newest heartbeat names this lifecycle state."""
        return bool(self.policy_statuses) and self.policy_statuses[-1].state == state

    def goal(self, instruction: str = SENTENCE, max_duration: float = 0.0) -> Goal:
        """Send a goal and wait for its acceptance by the action server."""
        wanted = ExecuteInstruction.Goal(instruction=instruction, max_duration=max_duration)
        return Goal(self, wanted)

    def restart_policy(self, *words: str) -> None:
        """End it where it runs, and start it with more words on its command line."""
        self.processes["policy"].stop()
        self.policy_statuses.clear()
        self.start("policy", [*self.policy_command, *words])
        self.wait_active()

    def policy_report(self) -> str:
        """How the policy is, and where its threads are."""
        policy = self.processes["policy"]
        if policy.child.poll() is not None:
            return f"policy_node ended with {policy.child.poll()}:\n{policy.text}"
        os.kill(policy.child.pid, signal.SIGUSR1)  # the runner writes every thread's stack
        wait_until(lambda: "most recent call first" in policy.text, lambda: policy.text)
        return f"last status: {self.policy_statuses[-1:]}; policy_node:\n{policy.text}"

    def running(self, instruction: str = SENTENCE) -> Goal:
        """A goal that moves the arms."""
        goal = self.goal(instruction)
        self.probe.wait_mode(ControlStatus.RUNNING, timeout=START)
        return goal

    def say(self, sentence: str) -> None:
        """On the instruction topic."""
        self._sentences.publish(String(data=sentence))

    def settle_policy(self) -> None:
        """No goal, no fault, everything live, control holding without a doubt left."""
        probe = self.probe
        probe.set("loopback_node", fault="none", camera_fault="none")
        if probe.status.mode == ControlStatus.ESTOP:
            probe.emergency_stop(False)
            probe.wait(lambda: probe.trigger("reset").success, "the reset")
        self.wait_active()
        wait_until(lambda: not self.policy_statuses[-1].missing, "inputs to be live", START)
        for samples in probe.commands.values():
            samples.clear()

    def go_home(self) -> None:
        """Hand the arms to the test and back: home pose, control holding there."""
        probe = self.probe
        assert probe.transition("control_node", Transition.TRANSITION_DEACTIVATE)
        state = [value for _, arm in self.profile.ordered_arms for value in arm.home]
        for topic in command_topics(self.profile):
            publisher = probe.node.create_publisher(JointState, topic.target.topic, 1)
            message = JointState(name=topic.names, position=[state[i] for i in topic.columns])
            wait_until(publisher.get_subscription_count, "the robot to listen", START)
            publisher.publish(message)
            probe.wait(partial(self._at, topic, message.position), "the way home")
            probe.node.destroy_publisher(publisher)
        activate = partial(probe.transition, "control_node", Transition.TRANSITION_ACTIVATE)
        probe.wait(activate, "control to take over")  # once our publishers have left the graph
        self.holding()

    def _at(self, topic: CommandTopic, values: Sequence[float]) -> bool:
        measured = np.array(self.probe.status.measured)[list(topic.columns)]
        return bool(np.abs(measured - values).max() < 0.01)
