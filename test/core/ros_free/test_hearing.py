# SPDX-License-Identifier: Apache-2.0
"""Inputs that are published and not heard: new subscriptions, another way, and the end."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from adamoe_ros.ros.policy.hearing import (
    LOOK_PERIOD,
    PATIENCE,
    RENEWALS,
    Hearing,
    Step,
    advice,
    with_senders,
)

STREAMS = ("camera", "joints")
LATER = PATIENCE + 1.1  # s, until a look finds what became silent


class Listener:
    """A node that looks every second.

    Attributes:
        now: steady time, s.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.hearing = Hearing(STREAMS, 0.0)

    def listen(self, seconds: float, *heard: str, published: Sequence[str] = STREAMS) -> list[Step]:
        """What was to be done during this time, in which messages of some streams come."""
        steps = []
        for _ in range(math.ceil(seconds / LOOK_PERIOD)):
            self.now += LOOK_PERIOD
            for stream in heard:
                self.hearing.note(stream)
            steps.append(self.hearing.look(published, self.now)[0])
        return [step for step in steps if step is not Step.NOTHING]


@pytest.fixture
def listener() -> Listener:
    return Listener()


def deafened(listener: Listener) -> Hearing:
    """New subscriptions have not helped."""
    steps = listener.listen((RENEWALS + 1) * LATER, "joints")
    assert steps == [Step.RENEW] * RENEWALS + [Step.CROSS_CHECK]
    return listener.hearing


def test_what_is_heard_or_not_published_asks_for_nothing(listener: Listener) -> None:
    assert listener.listen(3 * LATER, "camera", published=["camera"]) == []
    # a publisher that appears late is given the same time
    assert listener.listen(PATIENCE, "camera") == []
    assert listener.listen(1.0, "camera") == [Step.RENEW]
    assert listener.hearing.look(STREAMS, listener.now) == (Step.NOTHING, ["joints"])


def test_a_publisher_that_sends_nothing_does_not_end_the_node(listener: Listener) -> None:
    deafened(listener)
    assert listener.listen(100.0, "joints") == []


def test_messages_that_come_by_the_other_way_only_end_the_node(listener: Listener) -> None:
    deafened(listener).note_elsewhere("camera")
    assert listener.listen(PATIENCE, "joints") == []  # the same may still come here
    assert listener.listen(1.0, "joints") == [Step.END]


def test_one_message_makes_all_well_again(listener: Listener) -> None:
    hearing = deafened(listener)
    hearing.note_elsewhere("camera")
    assert listener.listen(LATER, *STREAMS) == []
    assert hearing.renewals == 0
    assert listener.listen(LATER, "joints") == [Step.RENEW]


@pytest.mark.parametrize("pause", [2.0, 3.0, 60.0])
def test_a_node_that_stood_still_blames_nobody(listener: Listener, pause: float) -> None:
    """It looks before it has taken what waits for it, however often it was paused."""
    for _ in range(20):
        listener.now += pause
        assert listener.hearing.look(STREAMS, listener.now) == (Step.NOTHING, [])
        assert listener.listen(1.0, *STREAMS) == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("cam (silent for 3.1 s)", "cam (silent for 3.1 s, published by a and b)"),
        ("cam", "cam (published by a and b)"),
    ],
)
def test_an_input_whose_publisher_is_known_does_not_blame_the_driver(
    line: str, expected: str
) -> None:
    assert with_senders(line, ["b", "a"]) == expected
    assert "network" in advice(expected)
    assert "start" not in advice(expected)
    assert with_senders(line, []) == line
    assert advice(line).startswith("start its driver")
