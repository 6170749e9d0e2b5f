# SPDX-License-Identifier: Apache-2.0
"""One bag three ways: ``adamoe replay``, policy_node behind ``replay --live``, the training loader.

The same observations and, with the same noise, the same chunks: of a pi0.5, whose prompt changes with
every joint state.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
import torch
import yaml
from bag_support import SECOND, START, motion, simulated_robot, write_mcap
from control_rig import Process, in_executor, node_command, wait_until
from policy_support import make_pi05_checkpoint
from rclpy.action import ActionClient
from rclpy.executors import SingleThreadedExecutor
from rosgraph_msgs.msg import Clock

from adamoe_ros.action import ExecuteInstruction
from adamoe_ros.contract.chunk import Inference
from adamoe_ros.contract.observation import Observation
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.contract.profile_io import load_profile
from adamoe_ros.control.policy_settings import PolicySettings
from adamoe_ros.data.bag.reader import Bag
from adamoe_ros.data.bag_conversion import ConvertSettings
from adamoe_ros.data.bag_conversion_many import ConversionJob, convert_bags
from adamoe_ros.data.lerobot.dataset_reader import Dataset
from adamoe_ros.data.lerobot.dataset_schema import STAMPS
from adamoe_ros.data.units import units_for
from adamoe_ros.evaluation.replay.run import BagReplay, Listeners, ReplaySettings
from adamoe_ros.msg import ActionChunk
from adamoe_ros.policy.actor import ActorSession, PolicyActor
from adamoe_ros.policy.actor_base import noise_seed
from adamoe_ros.policy.checkpoint import Checkpoint, read_checkpoint
from adamoe_ros.policy.runtime import PolicyRuntime
from adamoe_ros.ros import names, qos
from adamoe_ros.streams.messages import stamp_ns
from adamoe_ros.training.demonstration_set import Batch, DemonstrationSet
from adamoe_ros.training.lerobot_source import Reading, load_episodes
from adamoe_ros.training.picture_cache import model_pictures

SECONDS = 12.0  # of the bag; it is played only as far as needed
RATE = 0.15  # of real time: policy_node on a busy machine takes few messages per second
SEED = 5
SENTENCE = "lift the bar"


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
        self.clock: list[int] = []
        self.node.create_subscription(
            Clock,
            "/clock",
            lambda message: self.clock.append(stamp_ns(message.clock)),
            qos.sensor(reliable=False, depth=50),
        )
        self.goal = ActionClient(self.node, ExecuteInstruction, names.EXECUTE)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        while not self._stop.is_set():
            self._executor.spin_once(timeout_sec=0.05)

    def accepted(self, instruction: str) -> bool:
        """Send the goal; whether it was taken."""
        goal = ExecuteInstruction.Goal(instruction=instruction)
        sending = in_executor(self._executor, lambda: self.goal.send_goal_async(goal))
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


def live_words(bag_folder: Path, robot: Path) -> list[str]:
    words = [sys.executable, "-m", "adamoe_ros.cli.main", "replay", str(bag_folder), "--live"]
    return [*words, "--robot", str(robot), "--rate", str(RATE)]


def live_chunks(
    bag_folder: Path, checkpoint: Path, robot: Path, logs: Path
) -> tuple[list[ActionChunk], list[int]]:
    """What policy_node makes of a bag that ``adamoe replay --live`` plays, and the clock it had."""
    parameters = {
        "robot": robot,
        "checkpoint": checkpoint,
        "device": "cpu",
        "seed": SEED,
        "threads": 1,
        "autostart": True,
        "check_state": False,
        "use_sim_time": True,
        "max_observation_age": 5.0,
    }
    words = node_command("adamoe_ros.ros.policy.policy_node", "PolicyNode", parameters, threads=4)
    process, listener, player = Process(words, logs / "policy.log"), Listener(), None
    try:
        wait_until(lambda: "chunks of" in process.text, lambda: process.text, 60)
        player = Process(live_words(bag_folder, robot), logs / "player.log")
        wait_until(lambda: listener.clock, lambda: player.text, 60)
        wait_until(listener.goal.server_is_ready, lambda: process.text, 30)
        wait_until(lambda: listener.accepted(SENTENCE), lambda: process.text, 60)
        wait_until(lambda: len(listener.chunks) >= 6, lambda: process.text, 60)
        assert player.stop() == 0, player.text  # Ctrl-C ends it in order
        assert "not published: /follower_left/joint_commands" in player.text
        return list(listener.chunks), list(listener.clock)
    finally:
        if player is not None:
            player.stop()
        process.stop()
        listener.close()


def replayed_chunks(
    bag_folder: Path, actor: PolicyActor, profile: RobotProfile, wanted: set[int]
) -> dict[int, tuple[Observation, Inference]]:
    """By stamp, what ``adamoe replay`` gives."""
    found: dict[int, Any] = {}
    listeners = Listeners(
        predicted=lambda _, seen, made: found.update({seen.stamp_ns: (seen, made)})
    )
    with Bag(bag_folder) as bag:
        settings = ReplaySettings(stride_s=0.0)
        BagReplay(bag, profile, {"same": _Only(actor, wanted)}, settings, listeners).run()
    return found


def trained_samples(
    bag_folder: Path, checkpoint: Checkpoint, profile: RobotProfile, out: Path
) -> dict[int, Batch]:
    """By stamp, what the training loader gives: PNG, which loses nothing, at the cameras' rate."""
    units = units_for(profile, checkpoint.manifest, "")
    settings = ConvertSettings(fps=25, lossless=True)
    convert_bags(ConversionJob([bag_folder], out, profile, units, settings), lambda *_: None)
    episodes, layout = load_episodes(out, Reading(checkpoint.config.vision.image_size))
    samples = DemonstrationSet(episodes, layout, checkpoint.config.horizon)
    dataset = Dataset(out)
    stamps = dataset.column(dataset.episodes[0], STAMPS)[:, 0][episodes[0].steps]
    return {int(stamp): samples.batch(np.array([i])) for i, stamp in enumerate(stamps)}


def test_live_replay_and_training_agree(robot: Path, tmp_path: Path) -> None:
    """The same pictures, joints and sentence to the last bit, and so the same chunks."""
    folder_of_checkpoint = make_pi05_checkpoint(tmp_path / "checkpoint")
    profile = load_profile(robot)
    folder = write_mcap(tmp_path / "bag", motion(profile, SECONDS))
    live, clock = live_chunks(folder, folder_of_checkpoint, robot, tmp_path)
    assert clock == sorted(clock) and START <= clock[0] < clock[-1] <= START + SECONDS * SECOND
    torch.set_num_threads(1)  # as the node's parameter: sums are split alike
    checkpoint = read_checkpoint(folder_of_checkpoint)
    actor = PolicyActor(profile, checkpoint, PolicySettings(seed=SEED, device="cpu"))
    runtime = PolicyRuntime(checkpoint, "cpu", engine="auto")
    wanted = {stamp_ns(chunk.header.stamp) for chunk in live}
    replayed = replayed_chunks(folder, actor, profile, wanted)
    samples = trained_samples(folder, checkpoint, profile, tmp_path / "dataset")
    exact = 0
    for chunk in live:
        stamp = stamp_ns(chunk.header.stamp)
        observation, made = replayed[stamp]
        stamps = dict(zip(chunk.camera_slots, map(stamp_ns, chunk.camera_stamps), strict=True))
        assert stamps == dict(observation.image_stamps_ns)
        batch = samples[stamp]
        pictures = model_pictures(observation.images.values(), checkpoint.config.vision.image_size)
        np.testing.assert_array_equal(batch.images[0], pictures)
        np.testing.assert_array_equal(batch.state[0], observation.state.astype(np.float32))
        assert batch.instructions == (observation.instruction,) == (SENTENCE,)
        trained = Observation(
            stamp,
            dict(zip(observation.images, batch.images[0], strict=True)),
            batch.state[0],
            batch.instructions[0],
        )
        rows = runtime.infer(trained, runtime.noise(noise_seed(SEED, stamp))).normalized
        np.testing.assert_array_equal(rows[:, : made.normalized.shape[1]], made.normalized)
        if stamp_ns(chunk.state_stamp) != observation.state_stamp_ns:
            continue  # the picture overtook its joint state on the way
        exact += 1
        rows = np.array(chunk.positions).reshape(chunk.rows, -1)
        np.testing.assert_array_equal(rows, made.positions[: chunk.rows])
    assert exact >= 3


class _Only:
    """Infers at the wanted stamps only, so that a long bag is quick."""

    def __init__(self, actor: PolicyActor, wanted: set[int]) -> None:
        self._actor, self._wanted = actor, wanted
        self._session: ActorSession = actor.session()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._actor, name)

    def session(self) -> Any:
        return self

    def restart(self) -> None:
        self._session.restart()

    def infer(self, observation: Any, plan: Any) -> Inference:
        if observation.stamp_ns in self._wanted:
            return self._session.infer(observation, plan)
        rows = np.zeros((self._actor.horizon, 14))
        return Inference(rows, rows)
