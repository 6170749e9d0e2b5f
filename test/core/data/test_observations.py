# SPDX-License-Identifier: Apache-2.0
"""A bag read as the policy would have seen it."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from bag_support import (
    IMAGE,
    JOINTS,
    SECOND,
    START,
    STORE,
    joints,
    jpeg_image,
    motion,
    picture,
    raw_image,
    simulated_robot,
    write_mcap,
)

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.contract.observation import Observation
from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.data.bag.reader import Bag
from adamoe_ros.data.observations import BagStream, StreamOptions
from adamoe_ros.streams.inputs import ObservationInputs


def observations(
    folder: Path, profile: RobotProfile, **options: Any
) -> tuple[list[Observation], BagStream]:
    with Bag(folder) as bag:
        stream = BagStream(bag, profile, options=StreamOptions(**options))
        found = [e.value.load() for e in stream.events() if e.kind == "observation"]
    return found, stream


def same(a: Observation, b: Observation) -> bool:
    return (
        a.stamp_ns == b.stamp_ns
        and np.array_equal(a.state, b.state)
        and list(a.images) == list(b.images)
        and all(np.array_equal(a.images[slot], b.images[slot]) for slot in a.images)
        and dict(a.image_stamps_ns) == dict(b.image_stamps_ns)
        and a.state_stamp_ns == b.state_stamp_ns
        and a.instruction == b.instruction
    )


@pytest.mark.parametrize("kind", ["image", "compressed"])
def test_a_bag_gives_what_messages_give_one_by_one(tmp_path: Path, kind: str) -> None:
    profile = simulated_robot(type=kind)
    records = list(motion(profile, seconds=0.6))
    found, stream = observations(write_mcap(tmp_path / "bag", records), profile)
    inputs = ObservationInputs(profile)
    names = {f"/{topic.topic}": topic.name for topic in inputs.topics}
    expected: list[Observation] = []
    for time_ns, topic, _, message in records:
        if topic not in names:
            continue
        sample = inputs.decode(names[topic], message, time_ns)
        inputs.push(names[topic], sample, time_ns)
        observation = inputs.observation("lift the bar")
        if observation and (not expected or observation.stamp_ns > expected[-1].stamp_ns):
            expected.append(observation)
    assert len(found) == len(expected) == 15
    assert all(same(a, b) for a, b in zip(found, expected, strict=True))
    assert stream.notes == [] and stream.broken == 0


def test_a_state_that_arrives_after_its_picture_still_counts(tmp_path: Path) -> None:
    profile = simulated_robot()
    records = list(motion(profile, seconds=0.4))
    late = [
        (t + (90_000_000 if topic.endswith("joint_states") else 0), topic, kind, message)
        for t, topic, kind, message in records
    ]
    late.sort(key=lambda record: record[0])
    usual, _ = observations(write_mcap(tmp_path / "usual", records), profile)
    found, _ = observations(write_mcap(tmp_path / "late", late), profile)
    assert len(usual) == len(found) == 10
    assert all(same(a, b) for a, b in zip(found, usual, strict=True))


def test_health_of_every_input(tmp_path: Path) -> None:
    profile = simulated_robot()
    records = [
        record
        for record in motion(profile, seconds=2.0)
        if not (
            record[1] == "/cam_high/image_raw" and START + SECOND < record[0] < START + 1.3 * SECOND
        )
    ]
    _, stream = observations(write_mcap(tmp_path / "bag", records), profile)
    high = stream.accounts["cam_high"].summary()
    left = stream.accounts["follower_left/joint_states"].summary()
    assert high["rate_hz"] == pytest.approx(25, abs=0.1)
    assert high["gaps"] == 1 and high["longest_gap_s"] == pytest.approx(0.32, abs=0.05)
    assert left["messages"] == 100 and left["gaps"] == 0
    assert left["delay_s"] == pytest.approx(0.001, abs=1e-4)


def test_an_instruction_that_changes(tmp_path: Path) -> None:
    profile = simulated_robot()
    records = list(motion(profile, seconds=1.0, instruction="one"))
    text = STORE.types["std_msgs/msg/String"]("two")
    records.append((START + SECOND // 2, "/instruction", "std_msgs/msg/String", text))
    records.sort(key=lambda record: record[0])
    found, _ = observations(write_mcap(tmp_path / "bag", records), profile)
    assert found[0].instruction == "one" and found[-1].instruction == "two"
    told, _ = observations(tmp_path / "bag", profile, instruction="three")
    assert {item.instruction for item in told} == {"three"}


def test_stamps_of_simulation_time_with_a_clock(tmp_path: Path) -> None:
    """Recorded by wall time: the stamps are years away from it."""
    profile = simulated_robot()
    late = 10**17
    records: list[Any] = []
    for time_ns, topic, kind, message in motion(profile, seconds=0.4, start_ns=5 * SECOND):
        sec, nanosec = divmod(time_ns, SECOND)
        clock = SimpleNamespace(sec=sec, nanosec=nanosec)
        clock = STORE.types["builtin_interfaces/msg/Time"](sec, nanosec)
        tick = STORE.types["rosgraph_msgs/msg/Clock"](clock)
        records.append((late + time_ns - 1, "/clock", "rosgraph_msgs/msg/Clock", tick))
        records.append((late + time_ns, topic, kind, message))
    folder = write_mcap(tmp_path / "with", records)
    found, stream = observations(folder, profile)
    assert (stream.clock, len(found)) == ("clock", 10)
    without = write_mcap(tmp_path / "without", [r for r in records if r[1] != "/clock"])
    again, stream = observations(without, profile)
    assert (stream.clock, len(again)) == ("stamps", 10)
    assert all(same(a, b) for a, b in zip(found, again, strict=True))
    none, stream = observations(folder, profile, clock="log")
    assert none == [] and stream.accounts["cam_high"].summary()["other_clock"] == 10


def test_a_clock_that_goes_back(tmp_path: Path) -> None:
    profile = simulated_robot()
    first = list(motion(profile, seconds=0.4))
    second = [
        (t + SECOND, *rest) for t, *rest in motion(profile, seconds=0.4, start_ns=START - SECOND)
    ]
    folder = write_mcap(tmp_path / "bag", [*first, *second])
    found, stream = observations(folder, profile)
    stamps = [item.stamp_ns for item in found]
    assert any(b < a for a, b in itertools.pairwise(stamps))
    assert any("went back" in line for line in stream.notes)


def test_pictures_of_no_bytes_and_wrong_ones_are_left_out(tmp_path: Path) -> None:
    profile = simulated_robot()
    records = list(motion(profile, seconds=0.4))
    empty = raw_image(picture(0, 0), START + 5 * 10**6)
    empty.data = np.zeros(0, np.uint8)
    records.insert(30, (records[30][0], "/cam_high/image_raw", IMAGE, empty))
    found, stream = observations(write_mcap(tmp_path / "bag", records), profile)
    assert len(found) == 10
    assert stream.accounts["cam_high"].summary()["broken"] == 1
    assert "0 bytes" in stream.notes[0]


def test_a_jpeg_that_cannot_be_decoded_says_so_when_it_is_loaded(tmp_path: Path) -> None:
    profile = simulated_robot(type="compressed")
    records = list(motion(profile, seconds=0.1))
    for index, (time_ns, topic, kind, _) in enumerate(records):
        if topic == "/cam_high/image_raw":
            bad = jpeg_image(picture(0, 0), time_ns - 10**6)
            bad.data = np.frombuffer(b"\xff\xd8" + bytes(300) + b"\xff\xd9", np.uint8)
            records[index] = (time_ns, topic, kind, bad)
            break
    folder = write_mcap(tmp_path / "bag", records)
    with Bag(folder) as bag:
        stream = BagStream(bag, profile)
        first = next(event.value for event in stream.events() if event.kind == "observation")
    with pytest.raises(ContractError, match="undecodable"):
        first.load()


def test_missing_topics_are_named_together_with_the_namespace_that_would_fit(
    tmp_path: Path,
) -> None:
    profile = simulated_robot()
    records = [(t, f"/robot{topic}", k, m) for t, topic, k, m in motion(profile, seconds=0.2)]
    folder = write_mcap(tmp_path / "bag", records)
    with pytest.raises(ContractError) as caught:
        observations(folder, profile)
    assert len(caught.value.problems) == 5
    assert "set --namespace" in caught.value.problems[0]
    found, _ = observations(folder, profile, namespace="robot")
    assert len(found) == 5


def test_the_state_can_be_the_last_command(tmp_path: Path) -> None:
    profile = simulated_robot().model_copy(update={"state_source": "last_command"})
    records = list(motion(profile, seconds=0.4))
    found, _ = observations(write_mcap(tmp_path / "bag", records), profile)
    commands = {
        (t - 10**6, topic): list(m.position)
        for t, topic, k, m in records
        if k == JOINTS and topic.endswith("commands")
    }
    item = found[3]
    left = commands[(item.stamp_ns, "/follower_left/joint_commands")]
    assert list(item.state[:7]) == left


def test_names_are_read_by_name_not_by_place(tmp_path: Path) -> None:
    profile = simulated_robot()
    records = []
    for time_ns, topic, kind, message in motion(profile, seconds=0.2):
        if topic == "/follower_left/joint_states":
            order = np.arange(len(message.name))[::-1]
            message = joints(
                tuple(message.name[i] for i in order), message.position[order], time_ns - 10**6
            )
        records.append((time_ns, topic, kind, message))
    turned, _ = observations(write_mcap(tmp_path / "turned", records), profile)
    straight, _ = observations(
        write_mcap(tmp_path / "straight", motion(profile, seconds=0.2)), profile
    )
    assert all(same(a, b) for a, b in zip(turned, straight, strict=True))
