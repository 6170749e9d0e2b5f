# SPDX-License-Identifier: Apache-2.0
"""Whose clock differs, by how much: from stamps and arrivals with a delay that varies."""

from __future__ import annotations

import numpy as np
import pytest
from streams_support import MS, robot

from adamoe_ros.streams.align import Aligner
from adamoe_ros.streams.clocks import Delays, clock_difference

T0 = 10_000 * MS


def delays(offset_ms: float, count: int = 40, jitter_ms: float = 30.0) -> Delays:
    """Of a stream whose clock is ahead by ``offset_ms``; messages take 2 ms and more."""
    made, generator = Delays(), np.random.default_rng(1)
    for _ in range(count):
        late = 2.0 + generator.exponential(jitter_ms / 4.0)
        made.note(T0, T0 + round((late - offset_ms) * MS))
    return made


@pytest.mark.parametrize(("offset_ms", "text"), [(210, "0.21 s ahead"), (-210, "0.21 s behind")])
def test_a_clock_that_differs_is_named_with_its_amount(offset_ms: float, text: str) -> None:
    line = clock_difference(delays(offset_ms), "the driver of /x")
    assert line.startswith("the clock of the driver of /x is ")
    assert text in line
    assert "chrony" in line


def test_equal_clocks_and_few_messages_say_nothing() -> None:
    assert clock_difference(delays(0.0), "x") == ""
    assert clock_difference(delays(10.0), "x") == ""  # what a clock daemon leaves
    assert clock_difference(delays(500.0, count=5), "x") == ""


def test_one_stamp_from_the_future_is_no_clock() -> None:
    made = delays(0.0)
    made.note(T0 + 400 * MS, T0)
    assert clock_difference(made, "x") == ""


@pytest.mark.parametrize(("ahead_ms", "text"), [(300, "0.30 s ahead"), (-700, "0.70 s behind")])
def test_inputs_of_another_clock_are_missing_and_say_so(ahead_ms: int, text: str) -> None:
    aligner, picture = Aligner(robot()), np.zeros((6, 8, 3), np.uint8)
    now = T0
    for _ in range(12):
        now += 33 * MS
        for slot in aligner.slots:
            aligner.push_image(slot, now + ahead_ms * MS, picture, now)
        for topic, joints in (
            ("left/joint_states", 2),
            ("left/hand", 1),
            ("right/joint_states", 3),
        ):
            aligner.push_state(topic, now, np.zeros(joints), now)
    lines = aligner.missing(now)
    assert len(lines) == len(aligner.slots)
    assert all(text in line and "the driver of cam_" in line for line in lines)
