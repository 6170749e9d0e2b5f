# SPDX-License-Identifier: Apache-2.0
"""Messages with any values of their own field types: control refuses in one line and its status fits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from any_message import messages
from hypothesis import given, settings
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message, serialize_message

from adamoe_ros.contract.profile_io import load_profile, profile_path
from adamoe_ros.contract.resources import robots_dir
from adamoe_ros.control.core import ControlCore
from adamoe_ros.control.status import Mode
from adamoe_ros.msg import ActionChunk, ControlStatus, MotionCommand
from adamoe_ros.ros.control.control_messages import chunk_from_message, status_message
from adamoe_ros.ros.control.ticks import TickMonitor

PROFILE = load_profile(profile_path("aloha_sim", robots_dir()))
HOME = np.array([value for _, arm in PROFILE.ordered_arms for value in arm.home])
SECOND = 1_000_000_000
GENERATION = 3


@st.composite
def nearly_right_chunks(draw: Any) -> ActionChunk:
    """A chunk that would be followed, with any values in a few of its fields."""
    message = ActionChunk(
        chunk_id=1,
        generation=GENERATION,
        joint_names=list(PROFILE.joint_ids),
        dt=0.02,
        rows=3,
        positions=np.tile(HOME, 3).tolist(),
    )
    message.header.stamp.sec = 10
    other = draw(messages(ActionChunk))
    fields = sorted(set(ActionChunk.get_fields_and_field_types()) - {"generation"})
    for name in draw(st.lists(st.sampled_from(fields), max_size=2, unique=True)):
        setattr(message, name, getattr(other, name))
    return message


def core() -> ControlCore:
    made = ControlCore(PROFILE)
    made.activate(10 * SECOND, HOME)
    made.on_run(GENERATION)
    made.on_heartbeat(10 * SECOND)
    return made


def assert_works(made: ControlCore) -> None:
    """It ticks, and its status can be sent and read."""
    for number in range(1, 4):
        now = 10 * SECOND + number * SECOND // 50
        assert made.tick(now).mode is not Mode.INACTIVE
        message = status_message(
            made.status(now), TickMonitor(0.02), ControlStatus().header.stamp, False
        )
        assert deserialize_message(serialize_message(message), ControlStatus) == message


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(nearly_right_chunks() | messages(ActionChunk))
def test_any_chunk(message: ActionChunk) -> None:
    made = core()
    verdict = made.on_chunk(chunk_from_message(message), 10 * SECOND)
    assert verdict.accepted or verdict.reason
    assert "\n" not in verdict.reason
    assert len(verdict.reason) < 1000
    assert_works(made)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(messages(MotionCommand))
def test_any_motion_command(message: MotionCommand) -> None:
    made = core()
    if message.command == MotionCommand.RUN:
        made.on_run(int(message.generation))
    else:
        made.on_hold(message.reason)
    assert_works(made)


@pytest.mark.parametrize("dt", [1e300, 1e-300, 5e-324, -1.0, 0.0, float("nan"), float("inf")])
def test_an_absurd_row_spacing(dt: float) -> None:
    made = core()
    message = ActionChunk(
        chunk_id=1,
        generation=GENERATION,
        joint_names=list(PROFILE.joint_ids),
        dt=dt,
        rows=2,
        positions=np.tile(HOME, 2).tolist(),
    )
    message.header.stamp.sec = 10
    verdict = made.on_chunk(chunk_from_message(message), 10 * SECOND)
    assert "dt: expected 0.001 to 10 s, got " in verdict.reason
    assert_works(made)
