# SPDX-License-Identifier: Apache-2.0
"""Recordings as drivers make them: joints in parts, more joints, other clocks, other pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from bag_support import (
    COMPRESSED,
    IMAGE,
    JOINTS,
    SECOND,
    START,
    STORE,
    Record,
    joints,
    motion,
    pose,
    simulated_robot,
    write_mcap,
)

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.data.bag_conversion import ConvertSettings
from adamoe_ros.data.bag_conversion_many import ConversionJob, Outcome, convert_bags
from adamoe_ros.data.lerobot.dataset_reader import Dataset
from adamoe_ros.data.lerobot.dataset_schema import ACTION, STATE
from adamoe_ros.data.units import units_for

ROBOT = simulated_robot()
STATE_TOPIC = "/follower_left/joint_states"
Change = Callable[[Record], Iterable[Record]]


def convert(
    folder: Path, profile: RobotProfile, records: Iterable[Record], **how: Any
) -> tuple[Dataset, dict[str, Any]]:
    """The dataset of a recording, and what was noted of it."""
    bag = write_mcap(folder / "bag", sorted(records, key=lambda record: record[0]))
    units = units_for(profile, None, "driver")
    settings = ConvertSettings(**{"fps": 25, "lossless": True, "precision": "float64", **how})
    job = ConversionJob([bag], folder / "dataset", profile, units, settings)
    outcome: Outcome = convert_bags(job, lambda *_: None)
    (facts,) = outcome.done.values()
    return Dataset(folder / "dataset"), facts


def changed(change: Change, profile: RobotProfile = ROBOT, seconds: float = 1.2) -> list[Record]:
    return [new for record in motion(profile, seconds) for new in change(record)]


def rows(dataset: Dataset, key: str) -> np.ndarray:
    return np.concatenate([dataset.column(entry, key) for entry in dataset.episodes])


def assert_rows(
    dataset: Dataset, count: int = 30, within: float = 1e-3, action_within: float = 1e-6
) -> None:
    """Row k has the pose of picture k, and the command of that moment."""
    state, action = rows(dataset, STATE), rows(dataset, ACTION)
    assert count - 1 <= len(state) <= count
    first = round((rows(dataset, "stamps_ns")[0, 0] - START) / 1e9 * 25)
    times = (np.arange(len(state)) + first) / 25
    expected = np.array([pose(ROBOT, t) for t in times])
    np.testing.assert_allclose(state[1:], expected[1:], atol=within)
    np.testing.assert_allclose(state[0], expected[0], atol=0.02)  # nothing came before it
    np.testing.assert_allclose(action, [pose(ROBOT, t, 0.02) for t in times], atol=action_within)


# --- joints in parts -----------------------------------------------------------------------------


def parts(groups: list[slice], late_ms: float) -> Change:
    """Every joint state as messages of some joints each, one after the other, stamped as sent."""

    def change(record: Record) -> Iterator[Record]:
        time_ns, topic, kind, message = record
        if not topic.endswith("joint_states"):
            yield record
            return
        stamp = message.header.stamp.sec * SECOND + message.header.stamp.nanosec
        side = int("right" in topic)
        for number, group in enumerate(groups):
            late = round(number * late_ms * 1e6)
            values = pose(ROBOT, (stamp + late - START) / 1e9)[7 * side : 7 * side + 7]
            names = tuple(message.name)
            part = joints(names[group], values[group], stamp + late)
            yield time_ns + late, topic, kind, part

    return change


ARM, GRIPPER = slice(0, 6), slice(6, 7)


@pytest.mark.parametrize("late_ms", [0.0, 13.0, -7.0])
@pytest.mark.parametrize(
    "groups",
    [
        [ARM, GRIPPER],
        [GRIPPER, slice(0, 3), slice(3, 6)],
        [slice(0, 7), GRIPPER],
        [ARM, slice(2, 7)],
    ],
)
def test_joints_in_parts(groups: list[slice], late_ms: float, tmp_path: Path) -> None:
    """Each part is interpolated on its own stamps, so nothing is older than the picture."""
    dataset, facts = convert(tmp_path, ROBOT, changed(parts(groups, late_ms)))
    assert facts["state"] == "whole"
    assert_rows(dataset)
    rate = next(item["rate_hz"] for item in facts["streams"] if "follower_left" in item["name"])
    assert rate == pytest.approx(50, rel=0.02)


def test_two_arms_and_a_base_on_one_topic(tmp_path: Path) -> None:
    document = ROBOT.model_dump(exclude_unset=True)
    for side, arm in document["arms"].items():
        arm["state"] = {"topic": "joint_states"}
        for joint in (*arm["joints"], arm["gripper"]):
            joint["name"] = f"{side}_{joint['name']}"
    profile = RobotProfile.model_validate(document)

    def one_topic(record: Record) -> Iterator[Record]:
        time_ns, topic, kind, message = record
        stamp = message.header.stamp.sec * SECOND + message.header.stamp.nanosec
        if topic == "/joint_states":
            for group in (slice(0, 7), slice(7, 14)):
                part = joints(tuple(message.name)[group], message.position[group], stamp)
                yield time_ns, topic, kind, part
            yield time_ns, topic, kind, joints(("wheel_left", "wheel_right"), np.ones(2), stamp)
        else:
            yield record

    records = list(motion(profile, 1.2))
    new = [n for r in records for n in (one_topic(r) if r[2] == JOINTS else [r])]
    dataset, facts = convert(tmp_path, profile, new)
    assert facts["state"] == "whole"
    assert_rows(dataset)


def test_a_message_for_every_joint_of_many(tmp_path: Path) -> None:
    """Two hands and arms on one topic, 20 joints of their own messages each: none crowds out another."""
    document = ROBOT.model_dump(exclude_unset=True)
    for side, arm in document["arms"].items():
        arm["state"] = {"topic": "joint_states"}
        joint = arm["joints"][0]
        more = [{**joint, "name": f"finger_{n}"} for n in range(6)]
        arm["joints"] = [*arm["joints"], *more]
        arm["home"] = [*arm["home"][:-1], *6 * arm["home"][:1], arm["home"][-1]]
        for item in (*arm["joints"], arm["gripper"]):
            item["name"] = f"{side}_{item['name']}"
    profile = RobotProfile.model_validate(document)

    def alone(record: Record) -> Iterator[Record]:
        time_ns, topic, kind, message = record
        if topic != "/joint_states":
            yield record
            return
        stamp = message.header.stamp.sec * SECOND + message.header.stamp.nanosec
        for name, value in zip(message.name, message.position, strict=True):
            yield time_ns, topic, kind, joints((name,), np.array([value]), stamp)

    records = [new for record in motion(profile, 1.0) for new in alone(record)]
    dataset, facts = convert(tmp_path, profile, records)
    assert facts["state"] == "whole"
    assert len(rows(dataset, STATE)) >= 24


@pytest.mark.parametrize("action", ["command", "next_state"])
def test_a_part_that_falls_silent_is_named_and_not_held(action: str, tmp_path: Path) -> None:
    def silent(record: Record) -> Iterator[Record]:
        for new in parts([ARM, GRIPPER], 1.0)(record):
            gripper = new[1] == STATE_TOPIC and tuple(new[3].name) == ("gripper",)
            if not gripper or new[0] < START + SECOND // 2:
                yield new

    dataset, _ = convert(tmp_path, ROBOT, changed(silent), action=action)
    assert 10 <= len(rows(dataset, STATE)) <= 15


@pytest.mark.parametrize("names", [slice(0, 7), GRIPPER])
def test_two_publishers_of_one_joint_are_told(names: slice, tmp_path: Path) -> None:
    """A tool that fills joint states up with zeros beside the driver that measures them."""

    def twice(record: Record) -> Iterator[Record]:
        yield record
        if record[1] == STATE_TOPIC:
            stamp = record[3].header.stamp.sec * SECOND + record[3].header.stamp.nanosec + 10**7
            zeros = joints(tuple(record[3].name)[names], np.zeros(7)[names], stamp)
            yield record[0] + 10**7, STATE_TOPIC, JOINTS, zeros

    _, facts = convert(tmp_path, ROBOT, changed(twice))
    assert facts["state"] == "partial"
    assert any(f"{STATE_TOPIC}: " in line and "two publishers" in line for line in facts["notes"])


def test_a_part_that_never_comes_is_named(tmp_path: Path) -> None:
    def without(record: Record) -> Iterator[Record]:
        return (
            new
            for new in parts([ARM, GRIPPER], 1.0)(record)
            if len(getattr(new[3], "name", "x")) != 1 or new[1] != STATE_TOPIC
        )

    with pytest.raises(
        ContractError, match=r"follower_left/joint_states \(nothing yet of gripper\)"
    ):
        convert(tmp_path, ROBOT, changed(without))


def test_other_joints_alone_are_named(tmp_path: Path) -> None:
    def foreign(record: Record) -> Iterator[Record]:
        time_ns, topic, kind, message = record
        if topic == STATE_TOPIC:
            message = joints(("hip", "knee"), np.ones(2), START)
        yield time_ns, topic, kind, message

    with pytest.raises(ContractError, match="messages have hip, knee: correct the names"):
        convert(tmp_path, ROBOT, changed(foreign))


# --- commands ------------------------------------------------------------------------------------


def more_joints(record: Record) -> Iterator[Record]:
    time_ns, topic, kind, message = record
    if topic.endswith("joint_commands"):
        names, values = ["lift", *reversed(message.name), "head"], message.position[::-1]
        stamp = message.header.stamp.sec * SECOND + message.header.stamp.nanosec
        message = joints(tuple(names), np.concatenate([[np.nan], values, [0.3]]), stamp)
    yield time_ns, topic, kind, message


def test_joints_that_the_profile_does_not_have_are_left_out_of_commands(tmp_path: Path) -> None:
    dataset, facts = convert(tmp_path, ROBOT, changed(more_joints))
    assert facts["state"] == "whole"
    assert_rows(dataset)
    assert sum("lift, head" in line for line in facts["notes"]) == 2  # once a topic


def trajectories(times_s: list[float], every: int) -> tuple[RobotProfile, list[Record]]:
    """Commands as trajectories: at every so-many-th moment the poses of some times ahead."""
    document = ROBOT.model_dump(exclude_unset=True)
    for arm in document["arms"].values():
        arm["command"]["type"] = "joint_trajectory"
    point = STORE.types["trajectory_msgs/msg/JointTrajectoryPoint"]
    duration = STORE.types["builtin_interfaces/msg/Duration"]
    kind = "trajectory_msgs/msg/JointTrajectory"
    none = np.zeros(0)
    count = [0, 0]

    def change(record: Record) -> Iterator[Record]:
        time_ns, topic, _, message = record
        if not topic.endswith("joint_commands"):
            yield record
            return
        side = int("right" in topic)
        count[side] += 1
        if (count[side] - 1) % every:
            return
        stamp = message.header.stamp.sec * SECOND + message.header.stamp.nanosec
        points = []
        for time_s in times_s:
            values = pose(ROBOT, (stamp - START) / 1e9 + time_s, 0.02)[7 * side : 7 * side + 7]
            ahead = duration(*divmod(round(time_s * 1e9), SECOND))
            points.append(point(values, none, none, none, ahead))
        names = list(message.name)
        yield time_ns, topic, kind, STORE.types[kind](message.header, names, points)

    return RobotProfile.model_validate(document), changed(change)


@pytest.mark.parametrize(
    ("times_s", "every"),
    [
        ([0.0], 1),
        ([0.0, 0.02, 0.04, 0.06], 1),  # a few steps ahead, anew at each
        ([0.02 * step for step in range(16)], 15),  # a plan every 0.3 s
        ([0.02 * step for step in range(80)], 1000),  # one plan for all
    ],
)
def test_the_action_of_a_trajectory_is_its_set_point_of_the_moment(
    times_s: list[float], every: int, tmp_path: Path
) -> None:
    profile, records = trajectories(times_s, every)
    dataset, facts = convert(tmp_path, profile, records)
    assert facts["state"] == "whole"
    action = rows(dataset, ACTION)
    assert len(action) >= 29
    expected = [pose(ROBOT, k / 25, 0.02) for k in range(len(action))]
    np.testing.assert_allclose(action, expected, atol=2e-4)


# --- other clocks --------------------------------------------------------------------------------


def restamped(topic: str, stamp_of: Callable[[int], int]) -> Change:
    def change(record: Record) -> Iterator[Record]:
        if record[1] == topic:
            stamp = record[3].header.stamp
            stamp.sec, stamp.nanosec = divmod(stamp_of(stamp.sec * SECOND + stamp.nanosec), SECOND)
        yield record

    return change


CLOCKS: dict[str, tuple[Callable[[int], int], str]] = {
    "three hours behind": (lambda ns: ns - 10_800 * SECOND, "10800.0 s behind their arrival"),
    "a zone ahead": (lambda ns: ns + 3600 * SECOND, "3600.0 s ahead of their arrival"),
    "since its start": (lambda ns: ns - START + 77 * SECOND, "count from the device's start: 7"),
    "never changing": (lambda ns: START + 5, "stand still at 1700000000.000 s"),
    "never changing, long ago": (lambda ns: 5 * SECOND, "stand still at 5.000 s"),
}
STREAMS = {
    "a camera": "/cam_high/image_raw",
    "joint states": STATE_TOPIC,
    "commands": "/follower_left/joint_commands",
}


def with_arrival(stream: str) -> RobotProfile:
    document = ROBOT.model_dump(exclude_unset=True)
    owner = {
        "a camera": document["cameras"]["cam_high"],
        "joint states": document["arms"]["left"]["state"],
        "commands": document["arms"]["left"]["command"],
    }[stream]
    owner["stamp"] = "arrival"
    return RobotProfile.model_validate(document)


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("stream", STREAMS)
def test_a_stream_on_another_clock_is_named_or_taken_by_its_arrival(
    stream: str, clock: str, tmp_path: Path
) -> None:
    stamp_of, words = CLOCKS[clock]
    records = changed(restamped(STREAMS[stream], stamp_of))
    try:
        _, facts = convert(tmp_path / "refused", ROBOT, records)
        text = "\n".join(facts["notes"])
        assert facts["state"] == "partial"
    except ContractError as error:
        text = str(error)
    assert words in text and STREAMS[stream].split("/")[1] in text
    dataset, facts = convert(tmp_path, with_arrival(stream), records)
    assert facts["state"] == "whole"
    # arrivals are 1 ms after the stamps: the command of the period before is the one in force
    assert_rows(dataset, within=2e-3, action_within=0.02 if stream == "commands" else 1e-6)


@pytest.mark.parametrize(
    ("topics", "off_s", "told", "state"),
    [
        ("image_raw", -0.1, "", "whole"),
        ("image_raw", -0.3, "0.30 s behind", "whole"),
        ("image_raw", -1.5, "1.50 s behind", "partial"),
        ("joint_states", 1.0, "1.00 s ahead of", "partial"),
        ("joint_commands", -0.8, "0.80 s behind", "partial"),
        ("/", 1.5, "", "whole"),
    ],
)
def test_a_stream_that_is_a_little_off_the_others_is_told(
    topics: str, off_s: float, told: str, state: str, tmp_path: Path
) -> None:
    """Too near for another clock, too far for one moment: pairs of the wrong times would be silent."""

    def change(record: Record) -> Iterator[Record]:
        if topics in record[1] and hasattr(record[3], "header"):
            yield from restamped(record[1], lambda ns: ns + round(off_s * SECOND))(record)
        else:
            yield record

    _, facts = convert(tmp_path, ROBOT, changed(change, seconds=2.5))
    assert facts["state"] == state
    lines = [line for line in facts["notes"] if "those of the other streams" in line]
    assert bool(lines) == bool(told)
    assert all(told in line and "stamp: arrival" in line for line in lines)


def test_a_whole_bag_of_another_time_is_judged_by_its_stamps(tmp_path: Path) -> None:
    """Played again and recorded: every stamp is old, and one camera's is of yet another clock."""
    records = changed(restamped("/cam_high/image_raw", lambda ns: ns - 10_800 * SECOND))
    later = [(time_ns + 86_400 * SECOND, *rest) for time_ns, *rest in records]
    with pytest.raises(ContractError, match=r"cam_high: .* stamps are"):
        convert(tmp_path / "refused", ROBOT, later)
    dataset, facts = convert(tmp_path, with_arrival("a camera"), later)
    assert any("86400.0 s off the recorder's clock" in line for line in facts["notes"])
    assert len(rows(dataset, STATE)) >= 28


# --- pictures ------------------------------------------------------------------------------------

FLAT = np.full((48, 64, 3), (200, 90, 40), np.uint8)


def camera_sends(message: Callable[[Any], Any], kind: str) -> Change:
    def change(record: Record) -> Iterator[Record]:
        time_ns, topic, _, sent = record
        if topic == "/cam_high/image_raw":
            yield time_ns, topic, kind, message(sent.header)
        else:
            yield record

    return change


def raw(encoding: str, data: np.ndarray, step: int) -> Change:
    flat = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
    kind = STORE.types[IMAGE]
    return camera_sends(lambda header: kind(header, 48, 64, encoding, 0, step, flat), IMAGE)


def nv12() -> np.ndarray:
    planes = cv2.cvtColor(FLAT, cv2.COLOR_RGB2YUV_I420)
    chroma = np.stack([planes[48:60].reshape(-1), planes[60:].reshape(-1)], -1)
    return np.concatenate([planes[:48].reshape(-1), chroma.reshape(-1)])


GREY = cv2.cvtColor(FLAT, cv2.COLOR_RGB2GRAY)
PICTURES = {
    "nv12": ("nv12", raw("nv12", nv12(), 64), FLAT),
    "NV12 with the step of all planes": ("nv12", raw("NV12", nv12(), 96), FLAT),
    "8UC3 as bgr8": ("bgr8", raw("8UC3", FLAT[..., ::-1], 192), FLAT),
    "8UC3 as rgb8": ("rgb8", raw("8UC3", FLAT, 0), FLAT),
    "mono16": ("mono16", raw("mono16", GREY.astype("<u2") << 8, 128), GREY[..., None]),
    "rgba16": (
        "rgba16",
        raw("rgba16", np.dstack([FLAT, GREY]).astype("<u2") << 8, 512),
        FLAT,
    ),
}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_of_drivers(name: str, tmp_path: Path) -> None:
    encoding, change, expected = PICTURES[name]
    cameras = dict(ROBOT.cameras)
    cameras["cam_high"] = cameras["cam_high"].model_copy(update={"encoding": encoding})
    profile = ROBOT.model_copy(update={"cameras": cameras})
    dataset, facts = convert(tmp_path, profile, changed(change, seconds=0.6))
    assert facts["state"] == "whole"
    observations = [found for found, _ in dataset.observations(dataset.episodes[0])]
    assert len(observations) >= 14
    for observation in observations:
        off = observation.images["cam_high"].astype(int) - expected
        assert np.abs(off).max() <= 8


def test_bytes_behind_a_jpeg_do_not_matter_and_a_cut_one_is_told(tmp_path: Path) -> None:
    data = cv2.imencode(".jpg", FLAT[..., ::-1])[1].reshape(-1)
    count = 0

    def message(header: Any) -> Any:
        nonlocal count
        count += 1
        good = count != 7
        sent = np.concatenate([data if good else data[:300], np.zeros(4096, np.uint8)])
        return STORE.types[COMPRESSED](header, "jpeg", sent)

    cameras = dict(ROBOT.cameras)
    cameras["cam_high"] = cameras["cam_high"].model_copy(update={"type": "compressed"})
    profile = ROBOT.model_copy(update={"cameras": cameras})
    records = changed(camera_sends(message, COMPRESSED), seconds=0.6)
    dataset, facts = convert(tmp_path, profile, records)
    assert facts["state"] == "partial" and len(rows(dataset, STATE)) >= 14
    assert any("expected a whole image" in line for line in facts["notes"])


def test_a_depth_camera_is_named(tmp_path: Path) -> None:
    depth = raw("16UC1", np.full((48, 64), 900, "<u2"), 128)
    with pytest.raises(
        ContractError, match="16UC1, a depth map; set the topic of the colour camera"
    ):
        convert(tmp_path, ROBOT, changed(depth, seconds=0.4))
