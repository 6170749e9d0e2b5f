# SPDX-License-Identifier: Apache-2.0
"""recorder_node over real topics: what was published is in the bag; service, action, lines, kill -9."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
import yaml
from control_rig import Process, in_executor, node_command, wait_until
from rclpy.action import ActionClient
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String
from terminal import Terminal

from adamoe_ros.action import RecordEpisode
from adamoe_ros.contract.profile_io import load_profile
from adamoe_ros.contract.topics import command_topics, state_topics
from adamoe_ros.data.bag.reader import Bag
from adamoe_ros.data.bag_conversion import ConvertSettings
from adamoe_ros.data.bag_conversion_many import ConversionJob, convert_bags
from adamoe_ros.data.episode_info import read_info
from adamoe_ros.data.lerobot.dataset_reader import Dataset
from adamoe_ros.data.units import units_for
from adamoe_ros.ros import qos
from adamoe_ros.ros.policy.policy_messages import to_time
from adamoe_ros.srv import ControlRecording

Request = ControlRecording.Request
HEIGHT, WIDTH = 24, 32
STATE_HZ, EVERY = 30, 2


class Robot:
    """Publishes the topics of a small robot from a thread, and keeps what it sent."""

    def __init__(self, folder: Path, namespace: str = "") -> None:
        self.file = folder / "robot.yaml"
        cameras = {
            slot: {"width": WIDTH, "height": HEIGHT}
            for slot in ("cam_high", "cam_left_wrist", "cam_right_wrist")
        }
        document = {"extends": "aloha_sim", "use_sim_time": False, "cameras": cameras}
        self.file.write_text(yaml.safe_dump(document))
        self.profile = load_profile(self.file)
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node("test_robot", context=self.context, namespace=namespace)
        make = self.node.create_publisher
        quality = qos.sensor(reliable=True, depth=200)
        self._states = [
            (make(JointState, t.source.topic, quality), t) for t in state_topics(self.profile)
        ]
        self._commands = [
            (make(JointState, t.target.topic, quality), t) for t in command_topics(self.profile)
        ]
        self._cameras = [
            make(Image, str(c.topic), quality) for c in self.profile.present_cameras.values()
        ]
        self._words = make(String, "instruction", qos.INSTRUCTION)
        self.sent: dict[int, tuple[np.ndarray, list[np.ndarray]]] = {}  # by stamp of pictures
        self.control = self.node.create_client(ControlRecording, "control_recording")
        self.action = ActionClient(self.node, RecordEpisode, "record_episode")
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=work, daemon=True) for work in (self._spin, self._send)
        ]
        for thread in self._threads:
            thread.start()

    def send(self, goal: Any, feedback: Callable[[Any], None] | None = None) -> Any:
        """The future of a goal's acceptance."""
        return in_executor(self._executor, lambda: self.action.send_goal_async(goal, feedback))

    def _spin(self) -> None:
        while not self._stop.is_set():
            self._executor.spin_once(timeout_sec=0.05)

    def _send(self) -> None:
        rng = np.random.default_rng(0)
        self._words.publish(String(data="lift the bar"))
        step = 0
        while not self._stop.wait(1.0 / STATE_HZ):
            now = self.node.get_clock().now().nanoseconds
            values = 0.3 * np.sin(now / 1e9 + np.arange(14.0)) + 0.1
            values[[6, 13]] = 0.04 + 0.01 * np.sin(now / 1e9)
            for publisher, topic in self._states:
                columns = list(topic.columns)
                message = JointState(name=list(topic.names), position=array("d", values[columns]))
                message.header.stamp = to_time(now)
                publisher.publish(message)
            for publisher, command in self._commands:
                columns = list(command.columns)
                message = JointState(name=list(command.names))
                message.position = array("d", values[columns] + 0.001)
                message.header.stamp = to_time(now)
                publisher.publish(message)
            if step % EVERY == 0:
                pictures = list(rng.integers(0, 255, (3, HEIGHT, WIDTH, 3), np.uint8))
                self.sent[now] = values, pictures
                for publisher, pixels in zip(self._cameras, pictures, strict=True):
                    image = Image(height=HEIGHT, width=WIDTH, encoding="rgb8", step=3 * WIDTH)
                    image.header.stamp = to_time(now)
                    image.data = array("B", pixels.tobytes())
                    publisher.publish(image)
            step += 1

    def ask(self, command: int, **fields: Any) -> ControlRecording.Response:
        """One call of the service."""
        wait_until(self.control.service_is_ready, "control_recording")
        future = self.control.call_async(Request(command=command, **fields))
        wait_until(future.done, "an answer of control_recording")
        answer = future.result()
        assert answer is not None
        return answer

    def listened_to(self) -> bool:
        """Whether the recorder has found every topic."""
        publishers = [p for p, _ in (*self._states, *self._commands)] + self._cameras
        return all(p.get_subscription_count() for p in (*publishers, self._words))

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(5)
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)


@pytest.fixture(scope="module")
def robot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Robot]:
    made = Robot(tmp_path_factory.mktemp("robot"))
    yield made
    made.close()


def command(robot: Robot, folder: Path, namespace: str = "") -> list[str]:
    parameters = {"robot": robot.file, "folder": folder, "min_free": 0.01}
    return node_command(
        "adamoe_ros.ros.recorder.recorder_node", "RecorderNode", parameters, namespace
    )


@pytest.fixture
def recorder(robot: Robot, tmp_path: Path) -> Iterator[Process]:
    process = Process(command(robot, tmp_path / "bags"), tmp_path / "recorder.log")
    try:
        wait_until(robot.listened_to, lambda: f"all topics listened to: {process.text}")
        yield process
    finally:
        process.stop()


def expected_of(robot: Robot, folder: Path) -> int:
    """Every picture and state in a bag is one that was sent; the number of pictures."""
    pictures = 0
    with Bag(folder) as bag:
        assert bag.state == "whole", bag.problems
        slots = [f"/{c.topic}" for c in robot.profile.present_cameras.values()]
        for item in bag.messages([*slots, "/follower_left/joint_states"]):
            stamp = item.message.header.stamp.sec * 10**9 + item.message.header.stamp.nanosec
            if item.topic in slots:
                sent = robot.sent[stamp][1][slots.index(item.topic)]
                assert np.array_equal(np.asarray(item.message.data), sent.ravel())
                pictures += 1
            elif stamp in robot.sent:
                assert list(item.message.position) == list(robot.sent[stamp][0][:7])
    return pictures


def test_round_trip_from_topics_to_dataset(robot: Robot, recorder: Process, tmp_path: Path) -> None:
    """Topics -> bag -> dataset -> read back: joints, stamps, sentence and (PNG) pictures exact."""
    started = robot.ask(Request.START)
    assert started.accepted, started.message
    begun = len(robot.sent)
    wait_until(lambda: len(robot.sent) > begun + 30, "30 pictures")
    stopped = robot.ask(Request.STOP, judged=True, success=True, notes="fine")
    assert stopped.accepted and "NO MESSAGE" not in stopped.message
    folder = Path(stopped.path)
    assert expected_of(robot, folder) > 60
    info = read_info(folder, {})
    assert info is not None
    assert (info.instruction, info.heard) == ("", "lift the bar")
    assert (info.success, info.notes) == (True, "fine")
    assert info.profile["name"] == "aloha_sim" and info.parameters["recorder_node"]
    units = units_for(robot.profile, None, "driver")
    settings = ConvertSettings(fps=15, lossless=True, precision="float64")
    job = ConversionJob([folder], tmp_path / "out", robot.profile, units, settings)
    convert_bags(job, lambda *_: None)
    dataset = Dataset(tmp_path / "out")
    frames = list(dataset.observations(dataset.episodes[0]))
    assert len(frames) > 20
    for observation, _ in frames:
        values, pictures = robot.sent[observation.stamp_ns]
        assert np.array_equal(observation.state, values)
        assert observation.instruction == "lift the bar"
        for number, image in enumerate(observation.images.values()):
            assert np.array_equal(image, pictures[number])


def test_service_says_no_where_it_must(robot: Robot, recorder: Process) -> None:
    for command in (Request.STOP, Request.DISCARD, Request.LABEL):
        answer = robot.ask(command)
        assert not answer.accepted and "expected" in answer.message
    assert robot.ask(Request.START, instruction="x").accepted
    again = robot.ask(Request.START)
    assert not again.accepted and "running" in again.message
    gone = robot.ask(Request.DISCARD)
    assert gone.accepted and not Path(gone.path).exists()


def test_action_records_for_a_time_and_can_be_cancelled(robot: Robot, recorder: Process) -> None:
    wait_until(robot.action.server_is_ready, "record_episode")
    feedback: list[Any] = []
    goal = RecordEpisode.Goal(instruction="two", max_duration=1.5)
    sending = robot.send(goal, feedback.append)
    wait_until(sending.done, "goal response")
    ending = sending.result().get_result_async()
    wait_until(ending.done, "result")
    result = ending.result().result
    assert result.code == RecordEpisode.Result.DURATION_REACHED, result.message
    assert result.elapsed == pytest.approx(1.5, abs=1.0)
    counts = dict(zip(result.topics, result.counts, strict=True))
    assert counts["/cam_high/image_raw"] > 5, result.message
    assert feedback
    sending = robot.send(RecordEpisode.Goal())
    wait_until(sending.done, "goal response")
    handle = sending.result()
    wait_until(lambda: robot.ask(Request.START).message.count("running"), "it runs")
    handle.cancel_goal_async()
    ending = handle.get_result_async()
    wait_until(ending.done, "result after cancel")
    assert ending.result().result.code == RecordEpisode.Result.STOPPED


def test_kill_9_leaves_a_readable_bag(tmp_path: Path) -> None:
    """In a namespace of its own: the others must not find what the killed one leaves behind."""
    robot = Robot(tmp_path, "killed")
    process = Process(command(robot, tmp_path / "bags", "killed"), tmp_path / "recorder.log")
    try:
        wait_until(robot.listened_to, lambda: f"all topics listened to: {process.text}")
        started = robot.ask(Request.START)
        begun = len(robot.sent)
        wait_until(lambda: len(robot.sent) > begun + 45, "45 pictures")
        process.child.send_signal(signal.SIGKILL)
        process.child.wait(10)
    finally:
        process.stop()
        robot.close()
    with Bag(Path(started.path)) as bag:
        found = sum(1 for _ in bag.messages(["/killed/cam_high/image_raw"]))
        assert bag.state == "partial"
    assert found > 15
    info = read_info(Path(started.path), {})
    assert info is not None and info.ended == ""


def test_sigint_ends_the_episode_in_order(robot: Robot, recorder: Process) -> None:
    started = robot.ask(Request.START)
    begun = len(robot.sent)
    wait_until(lambda: len(robot.sent) > begun + 10, "10 pictures")
    assert recorder.stop(signal.SIGINT) == 0
    with Bag(Path(started.path)) as bag:
        assert bag.state == "whole"
        assert json.loads(bag.files.custom["adamoe_episode"])["end"] == "shutdown"


def record_words(robot: Robot, folder: Path) -> list[str]:
    words = [sys.executable, "-m", "adamoe_ros.cli.main", "record", "--robot", str(robot.file)]
    return [*words, "--out", str(folder), "--min-free", "0.01"]


def test_adamoe_record_is_led_by_keys(robot: Robot, tmp_path: Path) -> None:
    """Single keys in a terminal; two that come at once are two; silent topics are flagged."""
    words = [*record_words(robot, tmp_path / "bags"), "--topics", "nobody_here"]
    episodes = [tmp_path / f"bags/episode_000{number}" for number in range(4)]
    with Terminal(words) as terminal:
        terminal.shows("q quit")
        wait_until(robot.listened_to, lambda: terminal.text)
        terminal.press("ipush the bar\n")  # a line of text among the keys
        terminal.shows("instruction of the next episodes: 'push the bar'")
        terminal.press("s")
        terminal.shows("recording")
        begun = len(robot.sent)
        wait_until(lambda: len(robot.sent) > begun + 10, "10 pictures")
        terminal.shows(" messages  ")  # how it grows
        terminal.press("xy")  # the first means nothing
        terminal.shows("NO MESSAGE on /nobody_here: nobody publishes it")
        terminal.press("ss")
        terminal.shows("expected no episode, got one that is running")
        terminal.press("d")
        terminal.shows(f"discarded {episodes[1]}")
        terminal.press("  n")  # start, end, judged afterwards
        terminal.shows("noted for")
        terminal.press(" q")
        assert terminal.child.wait(30) == 0, terminal.text
        assert "Traceback" not in terminal.text
    assert expected_of(robot, episodes[0]) > 10
    found = [read_info(folder, {}) for folder in episodes if folder.exists()]
    assert [info.instruction for info in found if info] == ["push the bar"] * 3
    assert [info.success for info in found if info] == [True, False, None]
    assert [info.end for info in found if info] == ["stopped"] * 3


@pytest.mark.parametrize("way", ["Ctrl-C", "SIGTERM"])
def test_an_interrupted_command_ends_the_episode_in_order(
    robot: Robot, tmp_path: Path, way: str
) -> None:
    with Terminal(record_words(robot, tmp_path / "bags")) as terminal:
        terminal.shows("q quit")
        wait_until(robot.listened_to, lambda: terminal.text)
        terminal.press("s")
        terminal.shows("recording")
        begun = len(robot.sent)
        wait_until(lambda: len(robot.sent) > begun + 10, "10 pictures")
        if way == "Ctrl-C":
            terminal.press("\x03")
        else:
            terminal.child.terminate()
        assert terminal.child.wait(30) == 130, terminal.text
        assert "Traceback" not in terminal.text
    with Bag(tmp_path / "bags/episode_0000") as bag:
        assert bag.state == "whole"
        assert json.loads(bag.files.custom["adamoe_episode"])["end"] == "shutdown"


SMALL_DISK = 16 << 20


def small_disk(folder: Path, left: int, words: list[str]) -> list[str]:
    """A command in a mount namespace in which a folder is a small disk with some bytes left."""
    fill = SMALL_DISK - left
    script = (
        f"mount -t tmpfs -o size={SMALL_DISK} tmpfs {folder} && "
        f'head -c {fill} /dev/zero > {folder}/fill && exec "$@"'
    )
    return ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", *words]


def can_mount() -> bool:
    probe = "mount -t tmpfs tmpfs /mnt"
    words = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", probe]
    return shutil.which("unshare") is not None and not subprocess.run(words, check=False).returncode


@pytest.mark.skipif(not can_mount(), reason="no mount namespaces on this machine")
def test_a_disk_that_gets_full_ends_the_episode_in_order_and_says_so(
    robot: Robot, tmp_path: Path
) -> None:
    """A real, small disk; ``min_free`` is 0.01 GiB."""
    disk, kept = tmp_path / "disk", round(0.01 * 2**30)
    disk.mkdir()
    words = small_disk(disk, kept + 600_000, command(robot, disk / "bags"))
    process = Process(words, tmp_path / "recorder.log")
    try:
        wait_until(robot.listened_to, lambda: f"all topics listened to: {process.text}")
        started = robot.ask(Request.START)
        assert started.accepted, started.message
        wait_until(lambda: "ended by disk_full" in process.text, lambda: process.text)
        stopped = robot.ask(Request.STOP)
        assert not stopped.accepted and "expected a running episode" in stopped.message
        again = robot.ask(Request.START)
        assert not again.accepted and "GiB free" in again.message
        inside = Path(f"/proc/{process.child.pid}/root{started.path}")  # nobody else sees that disk
        shutil.copytree(inside, tmp_path / "copy")
    finally:
        assert process.stop() == 0
    with Bag(tmp_path / "copy") as bag:
        assert bag.state == "whole", bag.problems
        assert sum(1 for _ in bag.messages(["/cam_high/image_raw"])) > 3
        assert json.loads(bag.files.custom["adamoe_episode"])["end"] == "disk_full"


def test_adamoe_record_is_led_by_lines(robot: Robot, tmp_path: Path) -> None:
    words = record_words(robot, tmp_path / "bags")
    child = subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    assert child.stdin is not None
    try:
        wait_until(robot.listened_to, "all topics listened to")
        child.stdin.write("start pull it\n")
        child.stdin.flush()
        wait_until(lambda: (tmp_path / "bags/episode_0000/episode.json").exists(), "an episode")
        begun = len(robot.sent)
        wait_until(lambda: len(robot.sent) > begun + 10, "10 pictures")
        output, _ = child.communicate("wrong\nsuccess well done\nquit\n", timeout=30)
    finally:
        child.kill()
        child.wait(10)
    assert child.returncode == 0, output
    assert "expected one of start" in output and "messages on" in output
    info = read_info(tmp_path / "bags/episode_0000", {})
    assert info is not None and (info.instruction, info.success) == ("pull it", True)
    assert expected_of(robot, tmp_path / "bags/episode_0000") > 10
