# SPDX-License-Identifier: Apache-2.0
"""A bag in which a human takes the arms over for a while, as control_status says."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from bag_support import SECOND, START, STORE, motion

from adamoe_ros.contract.profile import RobotProfile
from adamoe_ros.control.status import Source
from adamoe_ros.data.bag.writer import BagWriter, type_store

STATUS = "adamoe_ros/msg/ControlStatus"
TAKEN, GIVEN = 0.5, 1.1  # s: a human leads in between


def status(store: Any, stamp_ns: int, source: Source) -> Any:
    """A ControlStatus that says nothing else."""
    kind = store.types[STATUS]
    plain = {"int": 0, "float": 0.0, "bool": False, "str": "", "list[str]": []}
    values = {
        field.name: plain.get(str(field.type), np.zeros(0)) for field in dataclasses.fields(kind)
    }
    time = store.types["builtin_interfaces/msg/Time"](*divmod(stamp_ns, SECOND))
    values["header"] = store.types["std_msgs/msg/Header"](time, "")
    return kind(**values | {"source": int(source), "mode": 2})


def write_led_bag(folder: Path, profile: RobotProfile, seconds: float) -> Path:
    """A bag in which a human leads from ``TAKEN`` to ``GIVEN``; control_status at 20 Hz and on change."""
    store = type_store(STATUS)
    times = sorted({*np.arange(0.0, seconds, 0.05).tolist(), TAKEN, GIVEN})

    def said() -> Iterator[tuple[int, str, str, bytes]]:
        for topic_time, topic, kind, message in motion(profile, seconds):
            yield topic_time, topic, kind, bytes(STORE.serialize_cdr(message, kind))
        for at in times:
            stamp = START + round(at * SECOND)
            source = Source.HUMAN if TAKEN <= at < GIVEN else Source.POLICY
            data = store.serialize_cdr(status(store, stamp, source), STATUS)
            yield stamp + 10**6, "/control_status", STATUS, bytes(data)

    with BagWriter(folder) as writer:
        for time_ns, topic, kind, data in sorted(said(), key=lambda item: item[0]):
            writer.add_topic(topic, kind, store if kind == STATUS else None)
            writer.write(topic, time_ns, data)
    return folder
