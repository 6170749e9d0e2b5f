# SPDX-License-Identifier: Apache-2.0
"""Inputs that are published and not heard: new subscriptions, another way, and the end."""

from __future__ import annotations

import pytest

from adamoe_ros.ros.policy.hearing import (
    PATIENCE,
    RENEWALS,
    Hearing,
    Step,
    advice,
    with_senders,
)

STREAMS = ("camera", "joints")
LATER = PATIENCE + 0.1


@pytest.fixture
def hearing() -> Hearing:
    return Hearing(STREAMS, 0.0)


def deafened(hearing: Hearing) -> float:
    """Look on until new subscriptions have not helped; the time then."""
    now = 0.0
    for _ in range(RENEWALS):
        now += LATER
        hearing.note("joints", now)
        assert hearing.look(STREAMS, now) == (Step.RENEW, ["camera"])
        assert hearing.look(STREAMS, now + 0.1) == (Step.NOTHING, ["camera"])
    now += LATER
    hearing.note("joints", now)
    assert hearing.look(STREAMS, now) == (Step.CROSS_CHECK, ["camera"])
    return now


def test_what_is_heard_or_not_published_asks_for_nothing(hearing: Hearing) -> None:
    hearing.note("camera", LATER)
    assert hearing.look(["camera"], LATER) == (Step.NOTHING, [])
    # a publisher that appears late is given the same time
    assert hearing.look(STREAMS, LATER + 1.0) == (Step.NOTHING, [])
    hearing.note("camera", 2 * LATER + 1.0)
    assert hearing.look(STREAMS, 2 * LATER + 1.0) == (Step.RENEW, ["joints"])


def test_a_publisher_that_sends_nothing_does_not_end_the_node(hearing: Hearing) -> None:
    now = deafened(hearing)
    for _ in range(20):
        now += LATER
        hearing.note("joints", now)
        assert hearing.look(STREAMS, now) == (Step.NOTHING, ["camera"])


def test_messages_that_come_by_the_other_way_only_end_the_node(hearing: Hearing) -> None:
    now = deafened(hearing)
    hearing.note_elsewhere("camera", now)
    assert hearing.look(STREAMS, now + 0.1)[0] is Step.NOTHING  # the same may still come here
    assert hearing.look(STREAMS, now + LATER)[0] is Step.END


def test_one_message_makes_all_well_again(hearing: Hearing) -> None:
    now = deafened(hearing)
    hearing.note_elsewhere("camera", now)
    for stream in STREAMS:
        hearing.note(stream, now + LATER)
    assert hearing.look(STREAMS, now + LATER) == (Step.NOTHING, [])
    assert hearing.renewals == 0
    now += 2 * LATER
    hearing.note("joints", now)
    assert hearing.look(STREAMS, now + 0.1) == (Step.RENEW, ["camera"])


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
