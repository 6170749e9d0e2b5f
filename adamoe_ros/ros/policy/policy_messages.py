# SPDX-License-Identifier: Apache-2.0
"""Chunks and expert loads as messages."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import Any

from builtin_interfaces.msg import Time

from adamoe_ros.contract.chunk import ActionChunk
from adamoe_ros.contract.observation import Observation
from adamoe_ros.msg import ActionChunk as ActionChunkMsg
from adamoe_ros.msg import ExpertLoad


def to_time(stamp_ns: int) -> Time:
    """ns -> message."""
    seconds, nanoseconds = divmod(int(stamp_ns), 1_000_000_000)
    return Time(sec=seconds, nanosec=nanoseconds)


def chunk_message(
    chunk: ActionChunk, observation: Observation, inference_s: float
) -> ActionChunkMsg:
    """The chunk with what it was made from."""
    message = ActionChunkMsg()
    message.header.stamp = to_time(chunk.stamp_ns)
    message.chunk_id = chunk.chunk_id
    message.generation = chunk.generation
    message.instruction = chunk.instruction
    message.joint_names = list(chunk.joint_names)
    message.dt = float(chunk.dt_s)
    message.rows = chunk.rows
    message.positions = array("d", chunk.positions.astype("<f8", copy=False).tobytes())
    message.committed_rows = chunk.committed_rows
    message.camera_slots = list(observation.image_stamps_ns)
    message.camera_stamps = [to_time(stamp) for stamp in observation.image_stamps_ns.values()]
    message.state_stamp = to_time(observation.state_stamp_ns)
    message.skew = float(observation.skew_s)
    message.inference = float(inference_s)
    return message


def expert_messages(loads: Sequence[Mapping[str, Any]]) -> list[ExpertLoad]:
    """One message per mixture layer."""
    return [
        ExpertLoad(
            layer=int(load["layer"]),
            selected=[float(value) for value in load["selected"]],
            probability=[float(value) for value in load["probability"]],
            scale=[float(value) for value in load["scale"]],
        )
        for load in loads
    ]
