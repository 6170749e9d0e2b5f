# SPDX-License-Identifier: Apache-2.0
"""Pauses and jumps of clocks in a recording: episodes end there, rows stay right, costs are bounded."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bag_support import START, motion, pose, simulated_robot, write_rosbags
from mcap_forms import Form, write_form

from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.data.bag.reader import Bag
from adamoe_ros.data.bag_conversion import ConvertSettings
from adamoe_ros.data.bag_conversion_many import ConversionJob, Outcome, convert_bags
from adamoe_ros.data.observations import StreamOptions
from adamoe_ros.data.units import units_for
from adamoe_ros.evaluation.replay.run import BagReplay, ReplaySettings

S = 1_000_000_000
HOUR = 3600 * S


def small_robot() -> RobotProfile:
    """One camera of 32 x 24: what is looked at here is time."""
    robot = simulated_robot(width=32, height=24)
    slot = next(iter(robot.present_cameras))
    cameras = {
        name: item if name == slot else item.model_copy(update={"topic": None, "absent": True})
        for name, item in robot.cameras.items()
    }
    return robot.model_copy(update={"cameras": cameras})


ROBOT = small_robot()


def moved(record: Any, by_ns: int, log: bool = True, stamp: bool = True) -> Any:
    """A record at another time of the recorder's clock, or of the drivers', or both."""
    time_ns, topic, kind, message = record
    if stamp and hasattr(message, "header"):
        was = message.header.stamp.sec * S + message.header.stamp.nanosec
        sec, nanosec = divmod(was + by_ns, S)
        stamp_message = replace(message.header.stamp, sec=sec, nanosec=nanosec)
        message = replace(message, header=replace(message.header, stamp=stamp_message))
    return time_ns + by_ns * log, topic, kind, message


def with_jump(by_ns: int, seconds: float = 2.0, at_s: float = 1.0, **which: bool) -> Iterable[Any]:
    for record in motion(ROBOT, seconds=seconds):
        late = record[0] - START > at_s * S
        yield moved(record, by_ns, **which) if late else record


def converted(path: Path, out: Path, **how: Any) -> tuple[Outcome, list[pa.Table]]:
    settings = ConvertSettings(
        fps=25, lossless=True, precision="float64", stream=StreamOptions(clock="auto"), **how
    )
    job = ConversionJob([path], out, ROBOT, units_for(ROBOT, None, "driver"), settings)
    outcome = convert_bags(job, lambda *_: None)
    return outcome, [pq.read_table(item) for item in sorted(out.glob("data/**/*.parquet"))]


def states(table: pa.Table) -> np.ndarray:
    return np.array(table["observation.state"].to_pylist())


def expected_states(first: int, last: int) -> np.ndarray:
    return np.array([pose(ROBOT, row / 25) for row in range(first, last)])


def lines(outcome: Outcome) -> list[str]:
    return [line for facts in outcome.done.values() for line in facts["notes"]]


@pytest.mark.parametrize("storage", ["mcap", "db3"])
@pytest.mark.parametrize("by_s", [1.0, 10.0, 3600.0, 3e8, -0.7, -1.0, -1.5, -10.0, -3600.0, -1e9])
def test_a_recording_is_split_where_time_jumps(tmp_path: Path, by_s: float, storage: str) -> None:
    records = list(with_jump(round(by_s * S)))
    if storage == "mcap":
        path = write_form(tmp_path / "bag.mcap", records, Form(chunk_bytes=20_000))
    else:
        path = write_rosbags(tmp_path / "bag", records)
    begun = time.process_time()
    outcome, tables = converted(path, tmp_path / "out")
    assert time.process_time() - begun < 30
    first, second = map(len, tables)
    assert first == 25 and second == 25
    np.testing.assert_allclose(states(tables[0]), expected_states(0, 25), atol=1e-9)
    np.testing.assert_allclose(states(tables[1]), expected_states(50 - second, 50), atol=1e-9)
    assert outcome.partial == [path.name]
    step = by_s + 0.04
    told = f"for {step:.2f} s" if step > 0 else f"went back by {-step:.2f} s"
    assert any(told in line and path.name in line for line in lines(outcome)), lines(outcome)
    assert f"2 episodes of 25, {second} frames were made of it" in lines(outcome)


@pytest.mark.parametrize("by_s", [0.0, 0.08, 0.32])
def test_a_short_pause_ends_no_episode(tmp_path: Path, by_s: float) -> None:
    path = write_form(tmp_path / "bag.mcap", with_jump(round(by_s * S)))
    outcome, tables = converted(path, tmp_path / "out")
    assert [len(table) for table in tables] == [50 + round(by_s * 25)]
    assert not outcome.partial


def test_the_gap_that_ends_an_episode_can_be_chosen(tmp_path: Path) -> None:
    path = write_form(tmp_path / "bag.mcap", with_jump(S))
    outcome, tables = converted(path, tmp_path / "out", gap_s=2.0)
    assert [len(table) for table in tables] == [75]
    assert "one picture stands for 14 frames in a row" in lines(outcome)


def test_one_stream_pauses_while_the_others_go_on(tmp_path: Path) -> None:
    records = [
        item
        for item in motion(ROBOT, seconds=6.0)
        if not ("image" in item[1] and 2 * S < item[0] - START < 4 * S)
    ]
    outcome, tables = converted(write_form(tmp_path / "bag.mcap", records), tmp_path / "out")
    assert [len(table) for table in tables] == [50, 50]
    np.testing.assert_allclose(states(tables[1]), expected_states(100, 150), atol=1e-9)
    assert outcome.partial


@pytest.mark.parametrize("stream", ["image", "left/joint_states"])
def test_a_stream_that_ends_early_is_told(tmp_path: Path, stream: str) -> None:
    records = [r for r in motion(ROBOT, seconds=3.0) if stream not in r[1] or r[0] - START < S]
    outcome, tables = converted(write_form(tmp_path / "bag.mcap", records), tmp_path / "out")
    assert sum(map(len, tables)) in (25, 26)
    assert outcome.partial
    assert any("fits together in the last" in line for line in lines(outcome))


@pytest.mark.parametrize("until_s", [2.0, 9.0])
def test_commands_that_pause_while_pictures_come_are_told(tmp_path: Path, until_s: float) -> None:
    def lost(record: Any) -> bool:
        return "left/joint_commands" in record[1] and S < record[0] - START < until_s * S

    records = [record for record in motion(ROBOT, seconds=3.0) if not lost(record)]
    outcome, _ = converted(write_form(tmp_path / "bag.mcap", records), tmp_path / "out")
    (told,) = [line for line in lines(outcome) if line.startswith("commands on")]
    assert "follower_left" in told and "the one before stands for them" in told


@pytest.mark.parametrize("by_s", [-0.2, -0.45])
def test_a_small_step_back_is_told(tmp_path: Path, by_s: float) -> None:
    path = write_form(tmp_path / "bag.mcap", with_jump(round(by_s * S)))
    outcome, _ = converted(path, tmp_path / "out")
    told = [line for facts in outcome.done.values() for line in facts["problems"]]
    assert any("log times go back at one place" in line for line in told)


@pytest.mark.parametrize("log_ns", [0, 1700])
def test_a_recorder_that_stores_no_log_times(tmp_path: Path, log_ns: int) -> None:
    records = [(log_ns, *record[1:]) for record in motion(ROBOT, seconds=1.2)]
    outcome, tables = converted(write_form(tmp_path / "bag.mcap", records), tmp_path / "out")
    np.testing.assert_allclose(states(tables[0]), expected_states(0, 30), atol=1e-9)
    assert any("arrivals are judged by the stamps" in line for line in lines(outcome))


@pytest.mark.parametrize("by_ns", [HOUR, -HOUR])
@pytest.mark.parametrize("which", ["log", "stamp"])
def test_one_clock_alone_jumps(tmp_path: Path, by_ns: int, which: str) -> None:
    only = {"log": which == "log", "stamp": which == "stamp"}
    path = write_form(tmp_path / "bag.mcap", with_jump(by_ns, **only))
    outcome, tables = converted(path, tmp_path / "out")
    assert [len(table) for table in tables] == [25]
    np.testing.assert_allclose(states(tables[0]), expected_states(0, 25), atol=1e-9)
    assert any("have stamps of another clock" in line for line in lines(outcome))


@pytest.mark.parametrize("by_ns", [HOUR, -HOUR])
def test_a_single_message_of_another_time(tmp_path: Path, by_ns: int) -> None:
    records = list(motion(ROBOT, seconds=2.0))
    place = next(n for n, item in enumerate(records) if "image" in item[1] and n > 100)
    records[place] = moved(records[place], by_ns, stamp=False)
    outcome, tables = converted(write_form(tmp_path / "bag.mcap", records), tmp_path / "out")
    rows = np.concatenate([states(table) for table in tables])
    assert len(rows) >= 40
    expected = expected_states(0, 50)
    assert all(np.abs(expected - row).max(axis=1).min() < 0.05 for row in rows)
    assert outcome.partial


def test_many_jumps_cost_neither_memory_nor_lines(tmp_path: Path) -> None:
    def records() -> Iterable[Any]:
        for number, record in enumerate(motion(ROBOT, seconds=20.0)):
            yield moved(record, (HOUR if number // 60 % 2 else -HOUR) * (number // 60))

    path = write_form(tmp_path / "bag.mcap", records(), Form(chunk_bytes=10_000))
    tracemalloc.start()
    outcome, tables = converted(path, tmp_path / "out")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6
    assert sum(map(len, tables)) > 250
    assert len(lines(outcome)) < 60


def test_order_within_the_file_where_the_clock_was_set_back(tmp_path: Path) -> None:
    records = list(with_jump(-S))
    path = write_form(tmp_path / "bag.mcap", records, Form(chunk_bytes=5000))
    with Bag(path) as bag:
        found = [item.time_ns for item in bag.raw(bag.topics)]
    assert found == [item[0] for item in records]


@pytest.mark.parametrize("by_s", [10.0, 86400.0, -10.0])
def test_replay_of_a_bag_with_a_jump(tmp_path: Path, by_s: float) -> None:
    path = write_form(tmp_path / "bag.mcap", with_jump(round(by_s * S)))
    begun = time.process_time()
    with Bag(path) as bag:
        record = BagReplay(bag, ROBOT, {}, ReplaySettings()).run()
    assert time.process_time() - begun < 20
    assert record.observations == 50
    assert record.state == "partial"
    assert abs(record.duration_s - 1.92) < 1e-6
    assert any("chunks before are compared up to there" in line for line in record.notes)


def test_a_stopped_run_takes_up_all_episodes_of_a_bag(tmp_path: Path) -> None:
    good = write_form(tmp_path / "a.mcap", with_jump(HOUR))
    other = write_form(tmp_path / "b.mcap", motion(ROBOT, seconds=1.0))
    settings = ConvertSettings(fps=25, lossless=True)
    units = units_for(ROBOT, None, "driver")
    job = ConversionJob([good, other], tmp_path / "out", ROBOT, units, settings)

    def stop(bag: Path, facts: Any, problems: list[str]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert_bags(job, stop)
    outcome = convert_bags(job, lambda *_: None)
    assert outcome.reused == 1
    assert outcome.totals is not None
    assert (outcome.totals.episodes, outcome.totals.frames) == (3, 75)
