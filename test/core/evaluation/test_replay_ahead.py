# SPDX-License-Identifier: Apache-2.0
"""Pictures are decoded ahead in threads; what is replayed, and in which order, stays the same."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from adamoe_ros.contract.errors import ContractError
from adamoe_ros.data.observations import BagObservation, Event
from adamoe_ros.evaluation.replay.bag_pictures import decoded_ahead
from adamoe_ros.streams.frames import Frame
from adamoe_ros.streams.joint_states import JointPart
from adamoe_ros.streams.memory import keep_freed_pictures

FREE = np.zeros(2)


def seen(stamp_ns: int, frame: Frame) -> Event:
    value = BagObservation(stamp_ns, {"top": frame}, FREE, "", {"top": stamp_ns}, stamp_ns)
    return Event("observation", stamp_ns, stamp_ns, value)


def picture(value: int) -> Frame:
    return Frame(lambda: np.full((2, 2, 3), value, np.uint8))


def broken() -> np.ndarray:
    raise ContractError("broken picture")


def test_events_keep_their_order_and_only_wanted_pictures_are_decoded() -> None:
    def state(stamp_ns: int) -> Event:
        return Event("state", stamp_ns, stamp_ns, JointPart((0, 1), FREE))

    events = [item for n in range(20) for item in (state(n), seen(n, picture(n)), state(n))]
    with ThreadPoolExecutor(3) as pool:
        found = list(decoded_ahead(events, lambda item: item.stamp_ns % 3 == 0, pool, 4))
    assert [event for event, _ in found] == events
    for event, loading in found:
        wanted = event.kind == "observation" and event.stamp_ns % 3 == 0
        assert (loading is not None) == wanted
        if loading is not None:
            assert int(loading.result().images["top"][0, 0, 0]) == event.stamp_ns


def test_it_reads_no_further_ahead_than_it_should() -> None:
    read = []

    def events() -> Iterator[Event]:
        for number in range(50):
            read.append(number)
            yield seen(number, picture(number))

    with ThreadPoolExecutor(1) as pool:
        ahead = decoded_ahead(events(), lambda _: True, pool, depth=5)
        for number in range(10):
            assert next(ahead).event.stamp_ns == number
            assert len(read) == number + 6


def test_a_picture_that_cannot_be_decoded_is_told_at_its_place() -> None:
    events = [seen(0, picture(0)), seen(1, Frame(broken)), seen(2, picture(2))]
    with ThreadPoolExecutor(2) as pool:
        loads = [loading for _, loading in decoded_ahead(events, lambda _: True, pool)]
        assert loads[0] is not None and loads[2] is not None and loads[1] is not None
        loads[0].result()
        with pytest.raises(ContractError, match="broken picture"):
            loads[1].result()
        loads[2].result()


def test_observations_that_share_a_frame_decode_it_once() -> None:
    calls = []

    def decode() -> np.ndarray:
        calls.append(1)
        return np.zeros((480, 640, 3), np.uint8)

    frame = Frame(decode)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: frame.pixels(), range(64)))
    assert len(calls) == 1
    assert all(item is found[0] for item in found)


def test_keeping_memory_says_whether_it_could() -> None:
    assert keep_freed_pictures() == (platform.libc_ver()[0] == "glibc")
