# SPDX-License-Identifier: Apache-2.0
"""One bag through ``replay`` and through policy_node by ``--live``: the same observations and chunks."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
import torch
import yaml
from bag_support import motion, simulated_robot, write_mcap
from control_rig import Process, node_command, wait_until
from policy_support import make_checkpoint
from rclpy.action import ActionClient
from rclpy.executors import SingleThreadedExecutor

from adamoe_ros.action import ExecuteInstruction
from adamoe_ros.contract.profile_io import load_profile
from adamoe_ros.data.bag.entry import RawMessage
from adamoe_ros.data.bag.reader import Bag
from adamoe_ros.evaluation.replay.predictor import PolicyPredictor
from adamoe_ros.evaluation.replay.run import BagReplay, Listeners, ReplaySettings
from adamoe_ros.msg import ActionChunk, PolicyStatus
from adamoe_ros.ros import names, qos
from adamoe_ros.ros.bag_player import BagPlayer
from adamoe_ros.streams.messages import stamp_ns

SECONDS = 10.0  # of the bag; it is played only as far as needed
RATE = 0.3  # of real time: policy_node on a busy machine takes few messages per second
BEHIND = 0.3  # s of the bag that the node may be behind before the player waits for it


@pytest.fixture(scope="module")
def robot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("robot") / "robot.yaml"
    cameras = {slot: {"width": 64, "height": 48} for slot in simulated_robot().cameras}
    file.write_text(yaml.safe_dump({"extends": "aloha_sim", "cameras": cameras}))
    return file


class Listener:
    """Collects chunks and asks for the goal, in a thread of its own."""

    def __init__(self) -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node("test_replay_parity", context=self.context)
        self.chunks: list[ActionChunk] = []
        self.node.create_subscription(
            ActionChunk, names.ACTION_CHUNK, self.chunks.append, qos.sensor(True, 50)
        )
        self.age = -1.0
        self.node.create_subscription(
            PolicyStatus, names.POLICY_STATUS, self._on_status, qos.POLICY_STATUS
        )
        self.goal = ActionClient(self.node, ExecuteInstruction, names.EXECUTE)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _on_status(self, message: PolicyStatus) -> None:
        self.age = float(message.observation_age)

    def keep_step(self, message: RawMessage) -> None:
        """Hold the bag's clock while the node has not caught up: the machine may be busy."""
        deadline = time.monotonic() + 2.0
        while self.age > BEHIND and time.monotonic() < deadline:
            time.sleep(0.01)

    def _spin(self) -> None:
        while not self._stop.is_set():
            self._executor.spin_once(timeout_sec=0.05)

    def accepted(self, instruction: str) -> bool:
        """Send the goal; whether it was taken."""
        goal = ExecuteInstruction.Goal(instruction=instruction)
        sending = self.goal.send_goal_async(goal)
        wait_until(sending.done, "an answer to the goal")
        handle = sending.result()
        if not handle.accepted:
            return False
        ending = handle.get_result_async()
        begun = len(self.chunks)
        wait_until(lambda: ending.done() or len(self.chunks) > begun, "a chunk or an end")
        return not ending.done()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(5)
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)


def live_chunks(bag_folder: Path, checkpoint: Path, robot: Path, log: Path) -> list[ActionChunk]:
    parameters = {
        "robot": robot,
        "checkpoint": checkpoint,
        "device": "cpu",
        "seed": 5,
        "threads": 1,
        "autostart": True,
        "check_state": False,
        "use_sim_time": True,
        "max_observation_age": 5.0,
    }
    words = node_command("adamoe_ros.ros.policy_node", "PolicyNode", parameters, threads=4)
    process, listener = Process(words, log), Listener()
    ended = threading.Event()
    try:
        wait_until(lambda: "chunks of" in process.text, lambda: process.text, 60)
        with Bag(bag_folder) as bag:
            player = BagPlayer(listener.node, bag, load_profile(robot))
            assert "/follower_left/joint_commands" in player.left_out
            pace = (RATE, ended.is_set, listener.keep_step)
            playing = threading.Thread(target=player.play, args=pace, daemon=True)
            assert player.wait_for_listeners()
            playing.start()
            wait_until(listener.goal.server_is_ready, lambda: process.text, 30)
            wait_until(lambda: listener.accepted("lift the bar"), lambda: process.text, 60)
            wait_until(lambda: len(listener.chunks) >= 6, lambda: process.text, 30)
            ended.set()
            playing.join(10)
        return list(listener.chunks)
    finally:
        ended.set()
        process.stop()
        listener.close()


def test_live_and_replay_agree(robot: Path, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint")
    profile = load_profile(robot)
    folder = write_mcap(tmp_path / "bag", motion(profile, SECONDS))
    live = live_chunks(folder, checkpoint, robot, tmp_path / "policy.log")
    torch.set_num_threads(1)  # as the node's parameter: sums are split alike
    policy = PolicyPredictor(checkpoint, "same", profile, "cpu", seed=5)
    replayed: dict[int, Any] = {}
    listeners = Listeners(
        predicted=lambda _, observation, made: replayed.update(
            {observation.stamp_ns: (observation, made)}
        )
    )
    wanted = {stamp_ns(chunk.header.stamp) for chunk in live}
    with Bag(folder) as bag:
        settings = ReplaySettings(stride_s=0.0)
        replay = BagReplay(bag, profile, [_Only(policy, wanted)], settings, listeners)
        replay.run()
    exact = 0
    for chunk in live:
        observation, made = replayed[stamp_ns(chunk.header.stamp)]
        stamps = dict(zip(chunk.camera_slots, map(stamp_ns, chunk.camera_stamps), strict=True))
        assert stamps == dict(observation.image_stamps_ns)
        if stamp_ns(chunk.state_stamp) != observation.state_stamp_ns:
            continue  # the picture overtook its joint state on the way
        exact += 1
        rows = np.array(chunk.positions).reshape(chunk.rows, -1)
        np.testing.assert_array_equal(rows, made.positions[: chunk.rows])
    assert exact >= 3


class _Only:
    """Predicts at the wanted stamps only, so that a long bag is quick."""

    def __init__(self, policy: PolicyPredictor, wanted: set[int]) -> None:
        self._policy, self._wanted = policy, wanted

    def __getattr__(self, name: str) -> Any:
        return getattr(self._policy, name)

    def predict(self, observation: Any) -> Any:
        from adamoe_ros.evaluation.replay.predictor import Prediction

        if observation.stamp_ns in self._wanted:
            return self._policy.predict(observation)
        rows = np.zeros((self._policy.horizon, 14))
        return Prediction(rows, rows)
